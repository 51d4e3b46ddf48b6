"""Several workers, and who takes how much."""

from __future__ import annotations

from django_dbq.models import Job
from django_dbq.rules.states import State
from tests.compat.waiting import wait_until


def test_a_worker_in_a_long_job_takes_nothing_that_others_could_start(start, enqueue, ran, go_on):
    start("default", "--processes", "2")
    quick = enqueue("note_slowly", count=300)  # so that both expect short jobs
    wait_until(lambda: done(quick) == 300, "the short jobs were done")
    (long,) = enqueue("hold")
    wait_until(lambda: long in {job for job, _, _ in ran()}, "the long job ran")
    stuck = next(pid for job, pid, _ in ran() if job == long)

    # Enough for the other one to be at it for longer than the stuck one sleeps between two looks.
    behind = enqueue("note_slowly", count=400)
    wait_until(lambda: done(behind) == 400, "the jobs behind it were done")
    others = {pid for job, pid, _ in ran() if job in behind}
    assert stuck not in others
    # A job that was claimed and given back has been through more claims than one.
    last = Job.objects.filter(pk__in=behind).values_list("token", flat=True)
    assert set(last) == {1}
    go_on()


def done(ids):
    return Job.objects.filter(pk__in=ids, state=State.COMPLETE).count()
