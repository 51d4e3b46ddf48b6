import django_bench
from django_ox.bulk import enqueue_many
from tasks import noop, single


def fill(jobs):
    enqueue_many(noop, (((), {}) for _ in range(jobs)))


def trickle(moments):
    for sent in moments:
        single.enqueue(sent)


if __name__ == "__main__":
    django_bench.main(fill=fill, trickle=trickle)
