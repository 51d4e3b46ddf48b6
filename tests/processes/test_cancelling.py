"""Jobs that are called off while a real worker runs them."""

from __future__ import annotations

import pytest

from django_dbq import queue
from django_dbq.models import Attempt, Job
from tests.compat.waiting import wait_until
from tests.processes.conftest import states

pytestmark = pytest.mark.processes


def test_a_running_job_that_is_called_off_ends_and_its_worker_goes_on(
    start, enqueue, ran, pid_that_runs, times_run
):
    (held,) = enqueue("hold")
    worker = start()
    pid_that_runs(held, worker)

    assert queue.cancel(held, "not needed") == Job.STATES.PROCESSING
    worker.wait_until(lambda: states()["CANCELLED"], "the job was cancelled")
    (next_one,) = enqueue("note")
    worker.wait_until(lambda: states()["COMPLETE"], "the next job ran")

    job = Job.objects.get(pk=held)
    assert (job.cancel_reason, times_run()[held]) == ("not needed", 1)
    assert job.finished_at is not None
    assert not Attempt.objects.exists()
    assert times_run()[next_one] == 1


def test_a_job_that_is_called_off_between_its_tasks_runs_none_of_the_others(
    start, enqueue, times_run
):
    (job,) = enqueue("note_twice")
    Job.objects.update(cancel_requested_at=Job.objects.get().created, state="READY")
    start("--burst")

    wait_until(lambda: states()["CANCELLED"], "the job was cancelled")
    assert times_run()[job] == 0
