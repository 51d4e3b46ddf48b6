"""Outcomes are kept until the database has them, and one bad one takes no other along."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from django_dbq.clock import DatabaseClock
from django_dbq.models import Attempt, Job
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import Completed, Failed, Failure
from django_dbq.rules.states import WAITING, State
from django_dbq.worker.acknowledger import LARGEST_BATCH, Acknowledger
from tests.worker.conftest import now, row

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acknowledger(engine):
    return Acknowledger(engine, DatabaseClock(engine.now), worker="host:1")


@pytest.fixture
def held(engine):
    """Enqueue and claim so many jobs."""

    def held(count):
        engine.insert_alike(Job(name="noop"), ({} for _ in range(count)))
        return engine.claim(["default"], limit=count, worker_id=1, now=now())

    return held


def states(jobs):
    return [row(job).state for job in jobs]


def test_what_has_gathered_is_written_at_once(acknowledger, held):
    jobs = held(3)
    for job in jobs:
        acknowledger.add(job, Completed())

    assert acknowledger.flush() == jobs
    assert states(jobs) == [State.COMPLETE] * 3
    assert acknowledger.finished_jobs == 3
    assert acknowledger.flush() == []


def test_a_batch_has_a_largest_size_and_the_rest_comes_next(acknowledger, held):
    jobs = held(LARGEST_BATCH + 1)
    for job in jobs:
        acknowledger.add(job, Completed())

    assert len(acknowledger.flush()) == LARGEST_BATCH
    assert len(acknowledger.flush()) == 1


class Outage:
    """An engine that cannot reach its database, or whose answers get lost, for a while."""

    def __init__(self, engine, error, *, writes=False):
        self.engine, self.error, self.writes, self.lasts = engine, error, writes, True

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def acknowledge(self, *args, **kwargs):
        if not self.lasts:
            return self.engine.acknowledge(*args, **kwargs)
        if self.writes:
            self.engine.acknowledge(*args, **kwargs)
        raise self.error

    def now(self):
        if self.lasts:
            raise self.error
        return self.engine.now()


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")], ids=repr)
@pytest.mark.parametrize("writes", [False, True], ids=["nothing arrived", "the answer was lost"])
def test_outcomes_survive_an_outage_and_are_written_once(engine, held, error, writes):
    outage = Outage(engine, error, writes=writes)
    acknowledger = Acknowledger(outage, DatabaseClock(engine.now), worker="host:1")
    jobs = held(4)
    for job in jobs[:2]:
        acknowledger.add(job, Completed())
    for _ in range(10):
        with pytest.raises(type(error)):
            acknowledger.flush()
    assert acknowledger.finished_jobs == 0

    for job in jobs[2:]:
        acknowledger.add(job, Completed())
    outage.lasts = False
    written = acknowledger.flush() + acknowledger.flush()

    assert written == jobs
    assert states(jobs) == [State.COMPLETE] * 4
    assert acknowledger.finished_jobs == 4


REFUSED = {
    "a NUL character": {"workspace": {"nul": "\0"}},
    "a lone surrogate": {"workspace": {"surrogate": "\ud800"}},
    "a queue name that is too long": {"queue_name": "q" * 21},
    "a name that is too long": {"name": "n" * 101},
    "a name that no story can hold": {"name": "n" * 300},
    "a priority that is too high": {"priority": 2**40},
    "no priority": {"priority": None},
    "a priority that is no number": {"priority": "urgent"},
    "a priority that is a list": {"priority": [1]},
    "a time that is no time": {"run_after": "tomorrow"},
    "a queue that is an object": {"queue_name": {"a": object()}},
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_outcome_that_cannot_be_written_takes_no_other_along(acknowledger, held, what):
    """Some databases take some of these: then the job has what its task gave it."""
    first, bad, last = held(3)
    for job, changes in ((first, {}), (bad, REFUSED[what]), (last, {})):
        acknowledger.add(job, Completed(changes))

    assert acknowledger.flush() == [first, bad, last]
    assert states([first, last]) == [State.COMPLETE] * 2
    assert row(bad).state in (State.FAILED, State.COMPLETE)
    if row(bad).state == State.FAILED:
        assert Attempt.objects.get().job_id == bad.pk
        assert Attempt.objects.get().message
    assert acknowledger.flush() == []


@pytest.mark.parametrize("what", ["a priority that is no number", "a time that is no time"])
def test_a_job_whose_outcome_cannot_be_written_is_failed_with_the_reason(acknowledger, held, what):
    (bad,) = held(1)
    acknowledger.add(bad, Completed(REFUSED[what]))
    acknowledger.flush()

    assert row(bad).state == State.FAILED
    assert Attempt.objects.get().task == bad.next_task


def test_a_story_that_the_database_refuses_is_told_in_ascii(engine, held):
    """As a table does that cannot hold an emoji."""
    (job,) = held(1)
    moment = now()
    story = Failure("t", 1, "E", "smile 😀", "traceback 😀", moment, moment)

    class Refusing(Outage):
        def acknowledge(self, finished, **kwargs):
            told = [outcome.failure for _, outcome in finished if outcome.failure]
            if any(not failure.message.isascii() for failure in told):
                raise DatabaseError("Incorrect string value")
            return self.engine.acknowledge(finished, **kwargs)

    acknowledger = Acknowledger(Refusing(engine, None), DatabaseClock(engine.now), worker="host:1")
    acknowledger.add(job, Failed(story=story))

    assert acknowledger.flush() == [job]
    assert row(job).state == State.FAILED
    assert Attempt.objects.get().message.isascii()


def test_a_rival_s_lock_is_waited_for_however_long_it_takes(engine, held, monkeypatch):
    class Locked(Outage):
        """The lock comes in time for a statement that is sent later, as a way out."""

        def acknowledge(self, finished, **kwargs):
            if isinstance(finished[0][1], Failed):
                return self.engine.acknowledge(finished, **kwargs)
            return super().acknowledge(finished, **kwargs)

    outage = Locked(engine, OperationalError("a rival has a lock"))
    monkeypatch.setattr(engine, "is_transient", lambda error: True)
    acknowledger = Acknowledger(outage, DatabaseClock(engine.now), worker="host:1")
    (job,) = held(1)
    acknowledger.add(job, Completed())
    for _ in range(10):
        with pytest.raises(OperationalError):
            acknowledger.flush()

    outage.lasts = False
    assert acknowledger.flush() == [job]
    assert row(job).state == State.COMPLETE


def test_a_lost_job_is_logged_and_let_go(acknowledger, held, engine, caplog):
    (job,) = held(1)
    engine.rescue(1, Death("host:7", "it was made to end", is_crash=False), now=now())
    acknowledger.add(job, Completed())

    assert acknowledger.flush() == [job]
    assert str(job.pk) in caplog.text
    assert acknowledger.lost_jobs == 1
    assert row(job).state in WAITING


@pytest.mark.skipif("connection.vendor != 'mysql'")
def test_an_outcome_that_mariadb_refuses_as_an_operational_error_stops_no_worker(
    acknowledger, held
):
    """Errors that its driver has no name for are operational errors, like a server that is gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE django_dbq_attempt MODIFY message longtext"
            " CHARACTER SET utf8mb3 COLLATE utf8mb3_general_ci NOT NULL"
        )
    try:
        good, bad = held(2)
        moment = now()
        acknowledger.add(good, Completed())
        acknowledger.add(bad, Failed(story=Failure("t", 1, "E", "😀", "", moment, moment)))

        assert acknowledger.flush() == [good, bad]
        assert states([good, bad]) == [State.COMPLETE, State.FAILED]
        assert Attempt.objects.get().message.isascii()
    finally:
        Attempt.objects.all().delete()
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE django_dbq_attempt MODIFY message longtext"
                " CHARACTER SET utf8mb4 NOT NULL"
            )
