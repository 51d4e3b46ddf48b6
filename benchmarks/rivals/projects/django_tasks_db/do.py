import django_bench
from django.db import transaction
from tasks import noop, single


def fill(jobs):
    with transaction.atomic():
        for _ in range(jobs):
            noop.enqueue()


def trickle(moments):
    for sent in moments:
        single.enqueue(sent)


if __name__ == "__main__":
    django_bench.main(fill=fill, trickle=trickle)
