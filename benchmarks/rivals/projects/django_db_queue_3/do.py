import bench
import django
from django.core.management import call_command


def prepare():
    call_command("migrate", verbosity=0)


def fill(jobs):
    from django_dbq.models import Job

    Job.objects.bulk_create([Job(name="noop", next_task="tasks.noop") for _ in range(jobs)])


def trickle(moments):
    from django_dbq.models import Job

    for sent in moments:
        Job.objects.create(name="started", workspace={"sent": sent})


if __name__ == "__main__":
    django.setup()
    bench.main(prepare=prepare, fill=fill, trickle=trickle)
