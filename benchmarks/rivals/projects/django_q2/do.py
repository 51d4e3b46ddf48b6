import django_bench
from django.db import transaction
from django_q.tasks import async_task


def fill(jobs):
    with transaction.atomic():
        for _ in range(jobs):
            async_task("tasks.noop")


def trickle(moments):
    for sent in moments:
        async_task("tasks.single", sent)


if __name__ == "__main__":
    django_bench.main(fill=fill, trickle=trickle)
