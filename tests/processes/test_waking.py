"""Idle workers that sleep: what wakes them, and that nothing else has to."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta, timezone

import pytest
from django.db import connection  # noqa: F401 (in conditions of skipif)

from django_dbq import queue
from django_dbq.models import Job, WorkerProcess
from django_dbq.rules.states import State
from tests.processes.conftest import SLEEPY, is_parked, states, wait_for_end
from tests.processes.test_together import end_other_sessions

pytestmark = pytest.mark.processes


needs_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="only there workers park"
)


@pytest.fixture
def sleeper(start_sleeper):
    """A worker that has run a job, and has been idle since."""
    return start_sleeper()


def test_a_sleeping_worker_is_woken_by_each_job(sleeper, enqueue):
    for done in range(2, 12):
        enqueue("note")
        wait_for_end(done, sleeper)


def test_a_sleeping_worker_wakes_for_a_job_with_a_time(sleeper, enqueue, tmp_path):
    run_after = datetime.now(timezone.utc) + timedelta(seconds=0.8)
    queue.enqueue("note", {"folder": str(tmp_path)}, run_after=run_after)
    wait_for_end(2, sleeper)

    job = Job.objects.get(run_after=run_after)
    assert timedelta(0) <= job.started_at - run_after < timedelta(seconds=10)


def test_a_sleeping_worker_stops_at_once(sleeper):
    sleeper.signal(signal.SIGTERM)

    assert sleeper.exit_code() == 0


def test_a_sleeping_worker_wakes_for_a_job_that_its_own_task_enqueues(sleeper, enqueue):
    enqueue("enqueue_another")
    wait_for_end(3, sleeper)


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has no sessions")
def test_a_worker_whose_session_was_ended_in_its_sleep_is_woken_as_before(sleeper, enqueue):
    assert end_other_sessions()
    for done in range(2, 5):
        enqueue("note")
        wait_for_end(done, sleeper)


def test_a_busy_worker_leaves_new_jobs_to_one_that_sleeps(sleeper, start, enqueue, ran, go_on):
    start(**SLEEPY)
    sleeper.wait_until(lambda: WorkerProcess.objects.count() == 2, "there were two workers")
    enqueue("hold")
    sleeper.wait_until(lambda: states()[State.PROCESSING] == 1, "a job ran")
    for done in range(2, 6):
        enqueue("note")
        wait_for_end(done, sleeper)
    go_on()
    wait_for_end(6, sleeper)

    assert len({pid for _, pid, _ in ran()}) == 2


@needs_postgresql
def test_at_light_load_a_worker_stays_parked(sleeper, enqueue):
    parked_at = WorkerProcess.objects.get().parked_at
    for done in range(2, 8):
        enqueue("note")
        wait_for_end(done, sleeper)

    assert WorkerProcess.objects.get().parked_at == parked_at


@needs_postgresql
def test_a_busy_worker_is_not_parked_and_parks_again(sleeper, enqueue, go_on):
    enqueue("hold")
    sleeper.wait_until(lambda: not is_parked(), "the worker had left the register")
    go_on()

    sleeper.wait_until(is_parked, "the worker was parked")
