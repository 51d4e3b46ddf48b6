"""Waiting until a job has ended."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.db import connections, transaction

from django_dbq import clock, queue
from django_dbq.engines import awaiting, engine_for
from django_dbq.exceptions import WaitInTransaction, WaitTimeout
from django_dbq.models import Job
from django_dbq.rules.states import FINAL, WAITING, State
from tests.compat.waiting import in_another_connection

pytestmark = pytest.mark.django_db(transaction=True)

in_a_test_case = pytest.mark.django_db(transaction=False)


class Sleep:
    """Time passes in it and nowhere else; what happens meanwhile, a test says."""

    def __init__(self):
        self.now, self.pauses, self.meanwhile = 1_000.0, [], lambda: None

    def __call__(self, waiter, seconds):
        self.pauses.append(seconds)
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def sleep(monkeypatch):
    """How who waits sleeps, on every database."""
    sleep = Sleep()
    monkeypatch.setattr(clock, "monotonic", lambda: sleep.now)
    monkeypatch.setattr(awaiting.Waiter, "pause", lambda waiter, seconds: sleep(waiter, seconds))
    monkeypatch.setattr(type(engine_for("default")), "waiter", awaiting.Awaiting.waiter)
    return sleep


def end(job, state=State.COMPLETE, using="default"):
    """Have it end, as another process does that."""
    in_another_connection(lambda: Job.objects.using(using).filter(pk=job.pk).update(state=state))


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_job_that_has_ended_is_returned_at_once_and_read_anew(state, sleep):
    job = queue.enqueue("noop")
    end(job, state)

    assert queue.wait_for(job, 0) is job
    assert job.state == state
    assert sleep.pauses == []


@pytest.mark.parametrize("state", sorted(FINAL))
def test_who_waits_is_there_when_the_job_ends(state, sleep):
    job = queue.enqueue("noop")
    sleep.meanwhile = lambda: len(sleep.pauses) == 5 and end(job, state)

    assert queue.wait_for(job, 60).state == state
    assert len(sleep.pauses) == 5


@pytest.mark.parametrize("state", sorted(set(State) - set(FINAL)))
def test_a_job_that_waits_or_runs_has_not_ended(state, sleep):
    job = queue.enqueue("noop")
    end(job, state)
    with pytest.raises(WaitTimeout):
        queue.wait_for(job, 1)


@pytest.mark.parametrize("given", [lambda job: job.pk, lambda job: str(job.pk)])
def test_a_job_can_be_waited_for_by_its_id(given, sleep):
    job = queue.enqueue("noop")
    end(job)

    assert queue.wait_for(given(job), 1) == job
    assert queue.wait_for(given(job), 1).state == State.COMPLETE


@pytest.mark.parametrize("timeout", [2.5, timedelta(seconds=2.5)], ids=str)
def test_who_has_waited_for_long_enough_is_told_for_what(timeout, sleep):
    job = queue.enqueue("noop")
    with pytest.raises(TimeoutError) as raised:
        queue.wait_for(job, timeout)

    error = raised.value
    assert isinstance(error, WaitTimeout)
    assert (error.job_id, error.name, error.state, error.seconds) == (job.pk, "noop", "NEW", 2.5)
    assert sum(sleep.pauses) == pytest.approx(2.5)


def test_wait_for_without_a_timeout_waits_for_as_long_as_it_takes(sleep):
    job = queue.enqueue("noop")
    sleep.meanwhile = lambda: sleep.now > 2_000 and end(job)

    assert queue.wait_for(job, None).state == State.COMPLETE


def test_wait_for_no_time_at_all_is_one_look(sleep):
    job = queue.enqueue("noop")
    with pytest.raises(WaitTimeout):
        queue.wait_for(job, 0)

    assert sleep.pauses == []


@pytest.mark.parametrize("timeout", [-1, "5", True, float("nan")], ids=repr)
def test_a_timeout_that_makes_no_sense_is_refused(timeout):
    with pytest.raises(ValueError, match=r"seconds|less than nothing"):
        queue.wait_for(queue.enqueue("noop"), timeout)


def test_pauses_grow_from_two_milliseconds_to_a_quarter_of_a_second(sleep):
    with pytest.raises(WaitTimeout):
        queue.wait_for(queue.enqueue("noop"), 100)

    *pauses, last = sleep.pauses
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.002
    assert pauses[-1] == 0.25
    assert last <= 0.25
    assert len([pause for pause in pauses if pause < 0.25]) < 40


def test_a_job_that_is_not_there_cannot_be_waited_for():
    for job in (Job(name="noop"), uuid.uuid4(), str(uuid.uuid4())):
        with pytest.raises(Job.DoesNotExist):
            queue.wait_for(job, 1)


def test_a_job_that_is_deleted_meanwhile_ends_the_wait_with_an_error(sleep):
    job = queue.enqueue("noop")
    sleep.meanwhile = lambda: in_another_connection(Job.objects.all().delete)
    with pytest.raises(Job.DoesNotExist):
        queue.wait_for(job, 1)


def test_a_text_that_is_no_id_cannot_be_waited_for():
    with pytest.raises(ValidationError):
        queue.wait_for("no id", 1)


# ── transactions ─────────────────────────────────────────────────────────────────────────────────


def test_nobody_can_wait_in_a_transaction_even_for_what_has_ended(sleep):
    job = queue.enqueue("noop")
    end(job)
    with transaction.atomic(), pytest.raises(WaitInTransaction, match="'default'"):
        queue.wait_for(job, 1)


def test_nobody_can_wait_without_autocommit(sleep):
    job = queue.enqueue("noop")
    transaction.set_autocommit(False)
    try:
        with pytest.raises(WaitInTransaction):
            queue.wait_for(job, 1)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@in_a_test_case
def test_in_a_test_case_a_job_that_the_test_has_run_can_be_waited_for():
    job = queue.enqueue("noop")
    Job.objects.filter(pk=job.pk).update(state=State.COMPLETE)

    assert queue.wait_for(job, 1).state == State.COMPLETE


@in_a_test_case
def test_in_a_test_case_waiting_for_a_job_that_nobody_will_run_is_refused():
    with pytest.raises(WaitInTransaction):
        queue.wait_for(queue.enqueue("noop"), None)


@in_a_test_case
def test_in_a_test_case_nobody_can_wait_in_a_transaction_of_the_project_s():
    job = queue.enqueue("noop")
    Job.objects.filter(pk=job.pk).update(state=State.COMPLETE)
    with transaction.atomic(), pytest.raises(WaitInTransaction):
        queue.wait_for(job, 1)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_the_database_of_the_job_is_the_one_that_counts(sleep):
    job = queue.enqueue("noop", using="other")
    sleep.meanwhile = lambda: end(job, using="other")
    with transaction.atomic():  # on default
        assert queue.wait_for(job, 60).state == State.COMPLETE
        assert queue.wait_for(job.pk, 60, using="other").state == State.COMPLETE
        with pytest.raises(WaitInTransaction):
            queue.wait_for(job.pk, 1)


# ── from async code ──────────────────────────────────────────────────────────────────────────────


def run(coroutine):
    async def closing():
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(closing())


def test_async_code_waits_and_lets_others_run():
    job = queue.enqueue("noop")

    async def end_it():
        await asyncio.sleep(0)
        await Job.objects.filter(pk=job.pk).aupdate(state=State.FAILED)

    async def both():
        ended, _ = await asyncio.gather(queue.await_for(job, 30), end_it())
        return ended

    assert run(both()) is job
    assert job.state == State.FAILED


def test_async_code_is_told_of_a_timeout_too():
    job = queue.enqueue("noop")
    with pytest.raises(WaitTimeout):
        run(queue.await_for(job.pk, 0.01))

    assert Job.objects.get().state in WAITING


def test_who_has_waited_in_vain_is_told_if_no_live_worker_serves_the_queue(settings):
    job = Job.objects.create(name="noop", queue_name="mail")
    with pytest.raises(WaitTimeout, match="No live worker serves the queue 'mail'"):
        queue.wait_for(job, 0)

    engine = engine_for("default")
    engine.register(hostname="h", pid=1, queues=["mail"], threads=1, now=engine.now())
    with pytest.raises(WaitTimeout) as raised:
        queue.wait_for(job, 0)
    assert raised.value.unserved_queue is None
