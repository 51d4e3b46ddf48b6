"""Turns of the worker's loop, on this thread: nothing runs, and a test says what is done."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import OperationalError

from django_dbq.models import Job
from django_dbq.rules.outcomes import SUCCESS, Declined
from django_dbq.rules.states import State
from django_dbq.worker import loop as loop_module
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.loop import Worker
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.registration import Lease

pytestmark = pytest.mark.django_db


@pytest.fixture
def is_woken(engine):
    """Whether a job that a task of this process enqueues in that queue wakes a worker of these."""

    def is_woken(*queues, queue_name):
        options = WorkerOptions(queues=queues, rate_limit_seconds=0)
        lease = Lease(timedelta(seconds=60))
        worker = Worker(options, engine, worker_id=1, lease=lease, ledger=Ledger(1))
        worker._jobs_arrived(None, using="default", queue_name=queue_name, jobs=1)
        return worker.wakeup.wait(0)

    return is_woken


@pytest.fixture
def finish(worker):
    """Claim a job, and have it succeed."""

    def finish():
        Job.objects.create(name="noop")
        worker._take()
        (job,) = worker.pool.take_back()
        worker._finished(job, SUCCESS)
        return job

    return finish


def test_with_a_backlog_what_is_done_is_written_with_the_next_claim(worker, finish):
    job = finish()
    following = Job.objects.create(name="noop")

    assert worker._exchange()
    assert list(worker.in_flight) == [following.pk]
    assert Job.objects.get(pk=job.pk).state == State.COMPLETE
    assert worker.acknowledger.finished_jobs == 1


def test_an_exchange_that_claims_nothing_has_found_no_work(worker, finish):
    job = finish()

    assert not worker._exchange()
    assert worker.in_flight == {}
    assert Job.objects.get(pk=job.pk).state == State.COMPLETE


def test_a_job_that_its_own_task_enqueues_wakes_a_worker_of_that_queue_or_of_every_one(is_woken):
    assert is_woken("mail", "reports", queue_name="mail")
    assert is_woken("*", queue_name="mail")
    assert not is_woken("reports", queue_name="mail")


def test_a_worker_of_every_queue_exchanges_and_finds_the_next_job_wherever_it_is(engine):
    options = WorkerOptions(queues=("*",), rate_limit_seconds=0)
    lease = Lease(timedelta(seconds=60))
    worker = Worker(options, engine, worker_id=1, lease=lease, ledger=Ledger(1))
    first, second = (Job.objects.create(name="noop", queue_name=name) for name in ("a", "b"))
    assert worker._take()
    (job,) = worker.pool.take_back()
    worker._finished(job, SUCCESS)

    assert worker._exchange()
    assert list(worker.in_flight) == [second.pk]
    assert Job.objects.get(pk=first.pk).state == State.COMPLETE


def test_unknown_jobs_at_the_head_of_a_queue_keep_no_worker_from_known_ones(
    worker, engine, monkeypatch
):
    """However many names there are, it remembers a bounded number of them."""
    monkeypatch.setattr(loop_module, "MOST_UNKNOWN", 5)
    for number in range(50):
        engine.insert_alike(Job(name="noop", priority=1), [{}])
        Job.objects.filter(name="noop").update(name=f"tenant_{number}")
    known = Job.objects.create(name="noop")
    remembered = []

    while known.pk not in worker.in_flight and len(remembered) < 50:
        assert worker._take()
        for job in worker.pool.take_back():
            if job.pk != known.pk:
                worker._finished(job, Declined())
        worker._flush()
        remembered.append(len(worker._unknown))

    assert known.pk in worker.in_flight
    assert max(remembered) < 20
    assert not Job.objects.exclude(pk=known.pk).exclude(state=State.NEW).exists()


# ── While the database is away ───────────────────────────────────────────────────────────────────


@pytest.fixture
def away(worker, monkeypatch):
    """One step of the loop that finds the database away."""
    monkeypatch.setattr(loop_module, "pause_after", lambda *args, **kwargs: 0.6)

    def fail():
        raise OperationalError("gone")

    return lambda: worker._patiently(fail)


def test_tasks_are_interrupted_in_time_though_the_database_is_away(worker, away, monkeypatch):
    looks = []
    monkeypatch.setattr(worker.watch, "look", lambda: looks.append(True))
    away()

    assert len(looks) >= 2


def test_a_worker_that_must_go_interrupts_its_tasks_though_the_database_is_away(
    worker, away, monkeypatch
):
    interrupted = []
    monkeypatch.setattr(worker.watch, "interrupt_all", lambda: interrupted.append(True))
    monkeypatch.setattr(loop_module, "BUSY_REST_SECONDS", 0.01)
    worker.options = replace(worker.options, grace=timedelta(seconds=0.2))
    away()
    assert not interrupted

    worker._stop_asked_at = time.monotonic()
    away()
    assert interrupted


def test_the_end_of_a_run_that_was_lost_takes_nothing_from_the_one_that_has_its_job_now(
    worker, finish
):
    lost = finish()
    Job.objects.filter(pk=lost.pk).update(state=State.NEW)  # somebody has saved an old instance
    (again,) = worker.engine.claim(worker._wish(1))
    assert again.pk == lost.pk
    worker.in_flight[again.pk] = again
    worker._flush()

    assert list(worker.in_flight.values()) == [again]
