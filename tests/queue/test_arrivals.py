"""That jobs have come is told once they are committed, and not before."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.db import transaction

from django_dbq import queue
from django_dbq.engines import Claim, engine_for
from django_dbq.models import Job
from django_dbq.models.arrivals import arrived
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import SUCCESS, Advanced, Retried
from django_dbq.rules.states import State

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def told():
    """What was told: a list of (alias, queue, number of jobs)."""
    told = []

    def hear(sender, *, using, queue_name, jobs, **other):
        told.append((using, queue_name, jobs))

    arrived.connect(hear)
    yield told
    arrived.disconnect(hear)


def now():
    return datetime.now(timezone.utc)


def test_a_job_without_a_transaction_is_told_at_once(told):
    Job.objects.create(name="noop", queue_name="mail")

    assert told == [("default", "mail", 1)]


def test_jobs_of_a_transaction_are_told_after_its_commit_and_all_at_once(told):
    with transaction.atomic():
        for _ in range(5):
            queue.enqueue("noop")
        with transaction.atomic():
            queue.enqueue("noop")
        assert told == []

    assert told == [("default", "default", 5), ("default", "default", 1)]


def test_jobs_that_were_rolled_back_are_not_told(told):
    with transaction.atomic():
        queue.enqueue("noop")
        transaction.set_rollback(True)
    with transaction.atomic():
        queue.enqueue("noop", queue_name="kept")
        with transaction.atomic():
            queue.enqueue("noop", queue_name="kept")
            transaction.set_rollback(True)

    assert told == [("default", "kept", 1)]


def test_each_queue_and_database_is_told(told):
    Job.objects.bulk_create(
        Job(name="noop", queue_name=name) for name in ("mail", "default", "mail")
    )
    queue.enqueue("noop", using="other")

    assert told == [("default", "mail", 2), ("default", "default", 1), ("other", "default", 1)]


def test_each_queue_of_a_mix_is_told_of_its_jobs(told):
    mail, other = Job(name="noop", queue_name="mail"), Job(name="noop")
    later = Job(name="noop", queue_name="later", run_after=now() + timedelta(hours=1))
    with transaction.atomic():
        engine_for("default").insert_each([(mail, {}), (other, {}), (later, {}), (mail, {})])
        assert told == []

    assert sorted(told) == [("default", "default", 1), ("default", "mail", 2)]


def test_jobs_that_are_enqueued_in_bulk_are_told_at_once(told):
    queue.enqueue_many("noop", ({} for _ in range(2_500)), using="other")

    assert told == [("other", "default", 2_500)]


def test_jobs_that_cannot_be_claimed_soon_are_not_told(told):
    later = now() + timedelta(hours=1)
    queue.enqueue("noop", run_after=later)
    queue.enqueue_many("noop", [{}, {}], run_after=later)
    Job.objects.bulk_create([Job(name="noop", run_after=later), Job(name="noop", state="COMPLETE")])
    assert told == []

    queue.enqueue("noop", run_after=now() - timedelta(hours=1))
    queue.enqueue("noop", run_after=now() + timedelta(seconds=0.5))
    assert told == [("default", "default", 1)] * 2


def test_a_second_save_is_no_arrival(told):
    job = Job.objects.create(name="noop")
    told.clear()
    job.save()

    assert told == []


def test_a_job_that_is_set_going_again_is_told(told):
    job = Job.objects.create(name="noop", queue_name="mail", state=State.FAILED)
    queue.rerun(job)

    assert told == [("default", "mail", 1)]


def test_jobs_that_a_worker_gives_back_are_told(told):
    engine = engine_for("default")
    Job.objects.bulk_create(Job(name="noop") for _ in range(3))
    jobs = engine.claim(Claim(["default"], limit=2, worker_id=1, now=now()))
    told.clear()
    engine.hand_back(jobs, now=now())
    assert told == [("default", "default", 2)]

    engine.claim(Claim(["default"], limit=3, worker_id=1, now=now()))
    engine.rescue(1, Death("host:7", "it was killed", is_crash=True), now=now())
    assert told == [("default", "default", 2), ("default", "default", 3)]

    engine.claim(Claim(["default"], limit=3, worker_id=1, now=now()))
    told.clear()
    engine.hand_back_unknown(1, known=set(), now=now())
    assert told == [("default", "default", 3)]


def test_without_autocommit_the_job_is_enqueued_and_nobody_told(told):
    transaction.set_autocommit(False)
    try:
        Job.objects.create(name="noop")
        transaction.commit()
    finally:
        transaction.set_autocommit(True)

    assert told == []
    assert Job.objects.count() == 1


def test_who_listens_and_raises_is_nothing_to_the_caller(told):
    def fail(sender, **other):
        raise ValueError("no luck")

    arrived.connect(fail)
    try:
        with transaction.atomic():
            queue.enqueue("noop")
        queue.enqueue("noop")
    finally:
        arrived.disconnect(fail)

    assert len(told) == 2


@pytest.mark.django_db(transaction=False)
def test_a_test_case_can_count_its_callbacks_as_before(told, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        queue.enqueue("noop")
        queue.enqueue_many("noop", [{}])

    assert callbacks == []
    assert told == []


@pytest.mark.parametrize(
    ("outcome", "jobs"),
    [
        (Advanced(next_task="tests.project.tasks.append_second", task_index=1), 2),
        (Retried(after=timedelta(0)), 2),
        (Retried(after=timedelta(minutes=1)), 0),
        (SUCCESS, 0),
    ],
)
def test_what_an_outcome_makes_ready_is_told_but_for_what_was_lost(told, outcome, jobs):
    engine = engine_for("default")
    for _ in range(3):
        queue.enqueue("three_steps")
    claimed = engine.claim(Claim(["default"], limit=3, worker_id=1, now=now()))
    Job.objects.filter(pk=claimed[0].pk).update(worker_id=2)
    told.clear()

    engine.acknowledge([(job, outcome) for job in claimed], now=now())
    assert told == ([("default", "default", jobs)] if jobs else [])
