import django_bench
from tasks import noop, single


def fill(jobs):
    noop.get_backend().enqueue_all([(noop, [], {})] * jobs)


def trickle(moments):
    for sent in moments:
        single.enqueue(sent)


if __name__ == "__main__":
    django_bench.main(fill=fill, trickle=trickle)
