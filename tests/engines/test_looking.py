"""Looking: whether there is a job to claim, or from when on, without taking a lock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction  # noqa: F401 (asked by skipif)

from django_dbq.engines.doorbells import Doorbell
from django_dbq.models import Job
from django_dbq.rules.states import State
from tests.compat.waiting import in_another_connection
from tests.engines.conftest import NOW

SOON = NOW + timedelta(minutes=5)
LATER = NOW + timedelta(hours=5)


def test_where_nothing_waits_there_is_no_time_to_look_again(engine):
    assert engine.next_due(["default"], now=NOW) is None


@pytest.mark.parametrize("state", [State.NEW, State.READY])
def test_a_job_that_waits_can_be_claimed_now(engine, job_row, state):
    job_row(state=state)

    assert engine.next_due(["default"], now=NOW) < NOW


@pytest.mark.parametrize(
    "columns", [{"state": State.PROCESSING}, {"state": State.COMPLETE}, {"gate": 1}]
)
def test_a_job_that_does_not_wait_is_nothing_to_claim(engine, job_row, columns):
    job_row(**columns)

    assert engine.next_due(["default"], now=NOW) is None


def test_of_jobs_with_a_time_the_soonest_counts(engine, job_row):
    for moment in (LATER, SOON, LATER):
        job_row(run_after=moment)

    assert engine.next_due(["default"], now=NOW) == SOON
    assert engine.next_due(["default"], now=LATER) == SOON


def test_a_job_whose_time_was_seen_to_pass_can_be_claimed(engine, job_row):
    job_row(run_after=SOON, is_due=True)

    assert engine.next_due(["default"], now=LATER) < NOW
    assert engine.next_due(["default"], now=NOW) is None  # somebody has moved it since


def test_all_queues_of_the_worker_count_and_no_others(engine, job_row):
    job_row(queue_name="mail", run_after=SOON)
    job_row(queue_name="reports", run_after=LATER)
    job_row(queue_name="another")

    assert engine.next_due(["default"], now=NOW) is None
    assert engine.next_due(["default", "reports", "mail"], now=NOW) == SOON
    assert engine.next_due(["default", "another", "mail"], now=NOW) < NOW


def test_without_time_zones_the_time_is_the_same(engine, settings):
    from django.utils import timezone

    settings.USE_TZ, settings.TIME_ZONE = False, "America/Chicago"
    Job.objects.create(name="noop", run_after=timezone.make_naive(SOON))

    assert engine.next_due(["default"], now=NOW) == SOON


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has no row locks")
def test_a_job_that_another_transaction_has_locked_holds_up_no_look(shared_engine):
    Job.objects.create(name="noop")
    with transaction.atomic():
        list(Job.objects.select_for_update())

        assert in_another_connection(lambda: shared_engine.next_due(["default"], now=NOW))


# ── When to look ─────────────────────────────────────────────────────────────────────────────────


class Time:
    seconds = 1_000.0

    def now(self):
        return NOW + timedelta(seconds=self.seconds - 1_000)


@pytest.fixture
def time(monkeypatch):
    """Time passes when the test says so, on this host and on the database's clock."""
    time = Time()
    monkeypatch.setattr("django_dbq.clock.monotonic", lambda: time.seconds)
    return time


@pytest.fixture
def doorbell(engine, time):
    """The one that any database can have."""
    return Doorbell(engine, ["default"], worker_id=1, now=time.now)


def test_the_longer_nothing_came_the_longer_the_pauses(doorbell, time):
    pauses = []
    for _ in range(60):
        pauses.append(doorbell.pause_seconds())
        time.seconds += 1

    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (doorbell.shortest_seconds, doorbell.longest_seconds)


def test_when_work_was_found_pauses_are_short_again(doorbell, time):
    time.seconds += 100
    doorbell.found_work()

    assert doorbell.pause_seconds() == doorbell.shortest_seconds


def test_no_pause_goes_beyond_the_time_of_the_next_job(doorbell, time, job_row):
    time.seconds += 100
    job_row(run_after=time.now() + timedelta(seconds=0.1))
    assert not doorbell.rang()
    assert doorbell.pause_seconds() == pytest.approx(0.1)

    time.seconds += 0.1
    assert doorbell.rang()


def test_where_looks_are_dear_they_are_few(doorbell, time, monkeypatch):
    """As long as an old snapshot is open, a look walks over what is done."""

    def next_due(*args, **options):
        time.seconds += 0.6

    monkeypatch.setattr(type(doorbell.engine), "next_due", next_due)
    doorbell.look()
    assert doorbell.pause_seconds() < 0.1  # once, that may have been the machine

    doorbell.look()
    assert doorbell.pause_seconds() == pytest.approx(6)
    time.seconds += 5
    assert doorbell.pause_seconds() == pytest.approx(1)


def test_a_due_job_that_nobody_takes_makes_no_busy_loop(doorbell, time, job_row):
    """We do not know it, say, or a rival has locked it."""
    job_row()
    job_row(run_after=time.now())
    time.seconds += 100
    assert doorbell.rang()

    assert doorbell.pause_seconds() == doorbell.longest_seconds
