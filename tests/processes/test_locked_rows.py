"""Somebody's long transaction has locked the row of a job that runs in a real worker process."""

from __future__ import annotations

import signal

import pytest
from django.db import transaction

from django_dbq import queue
from django_dbq.models import Attempt, Job
from django_dbq.rules.states import State
from tests import databases
from tests.compat.waiting import in_another_connection
from tests.processes.conftest import states, wait_for_end

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(databases.chosen() == "sqlite", reason="it locks no single rows"),
]


def test_a_transaction_that_has_locked_a_row_holds_up_no_other_job_and_costs_its_own_nothing(
    start, enqueue, pid_that_runs, go_on, times_run
):
    (job,) = enqueue("hold")
    worker = start("--rate_limit", 0)
    pid_that_runs(job, worker)
    with transaction.atomic():
        queue.cancel(Job.objects.get(pk=job), "in a long transaction")
        go_on()
        worker.wait_until(lambda: "locked its row" in worker.output, "the lock was met")
        others = in_another_connection(lambda: enqueue("note", 20))  # which commits
        worker.wait_until(lambda: len(times_run()) == 21, "the others ran")
        transaction.set_rollback(True)
    wait_for_end(21, worker)

    assert times_run() == dict.fromkeys([job, *others], 1)
    assert not Attempt.objects.exists()
    assert "refused" not in worker.output


def test_a_worker_that_stops_does_not_wait_for_a_lock_beyond_its_grace(
    start, enqueue, pid_that_runs, go_on
):
    (job,) = enqueue("hold")
    worker = start("--rate_limit", 0, "--grace", 1)
    pid_that_runs(job, worker)
    with transaction.atomic():
        Job.objects.select_for_update().get(pk=job)
        go_on()
        worker.wait_until(lambda: "locked its row" in worker.output, "the lock was met")
        worker.signal(signal.SIGTERM)

        assert worker.exit_code() == 0
    assert "is not written" in worker.output
    assert states() == {State.PROCESSING: 1}

    wait_for_end(1, start("--rate_limit", 0))
