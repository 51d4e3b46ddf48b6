import django_bench

from django_dbq import queue
from django_dbq.models import Job


def fill(jobs):
    queue.enqueue_many("noop", (None for _ in range(jobs)))


def trickle(moments):
    for sent in moments:
        Job.objects.create(name="single", workspace={"sent": sent})


if __name__ == "__main__":
    django_bench.main(fill=fill, trickle=trickle)
