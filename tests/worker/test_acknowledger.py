"""Outcomes are kept until the database has them, and one bad one takes no other along."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection

from django_dbq.clock import DatabaseClock
from django_dbq.models import Attempt, Job
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import Advanced, Completed, Failed, Failure
from django_dbq.rules.states import WAITING, State
from django_dbq.worker import acknowledger as acknowledger_module
from django_dbq.worker.acknowledger import Acknowledger
from tests.worker.conftest import now, row

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_a_batch_has_a_largest_size_and_the_rest_comes_next(acknowledger, held, monkeypatch):
    monkeypatch.setattr(acknowledger_module, "LARGEST_BATCH", 3)
    for job in held(4):
        acknowledger.add(job, Completed())

    assert len(acknowledger.flush()) == 3
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


def test_an_error_is_asked_about_once(engine, held):
    """A second answer might be another: then what is kept for later would be refused for good."""

    class Flapping(Outage):
        questions = 0

        def now(self):
            self.questions += 1
            if self.questions == 1:
                raise self.error
            return self.engine.now()

    flapping = Flapping(engine, OperationalError("gone"))
    acknowledger = Acknowledger(flapping, DatabaseClock(engine.now), worker="host:1")
    (job,) = held(1)
    acknowledger.add(job, Completed())
    with pytest.raises(OperationalError):
        acknowledger.flush()

    assert flapping.questions == 1
    flapping.lasts = False
    assert acknowledger.flush() == [job]
    assert row(job).state == State.COMPLETE


def test_what_was_written_alone_before_an_outage_is_not_counted_twice(engine, held):
    class Interrupted(Outage):
        """Refuses a batch, and all from the third outcome on that comes alone."""

        alone = 0

        def acknowledge(self, finished, **kwargs):
            if self.lasts and len(finished) > 1:
                raise DatabaseError("refused")
            self.alone += 1
            if self.lasts and self.alone > 2:
                raise self.error
            return self.engine.acknowledge(finished, **kwargs)

    outage = Interrupted(engine, OperationalError("gone"))
    acknowledger = Acknowledger(outage, DatabaseClock(engine.now), worker="host:1")
    jobs = held(3)
    for job in jobs:
        acknowledger.add(job, Completed())
    with pytest.raises(OperationalError):
        acknowledger.flush()
    assert states(jobs) == [State.COMPLETE, State.COMPLETE, State.PROCESSING]

    outage.lasts = False
    assert acknowledger.flush() == jobs
    assert states(jobs) == [State.COMPLETE] * 3
    assert (acknowledger.finished_jobs, acknowledger.lost_jobs) == (3, 0)


REFUSED = {
    "a NUL character": {"workspace": {"nul": "\0"}},
    "a lone surrogate": {"workspace": {"surrogate": "\ud800"}},
    "a queue name that is too long": {"queue_name": "q" * 61},
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
            told = [outcome.story for _, outcome in finished if outcome.story]
            if any(not story.message.isascii() for story in told):
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


def test_what_was_lost_does_not_count_as_finished(acknowledger, held, engine):
    lost, kept = held(2)
    Job.objects.filter(pk=lost.pk).delete()
    for job in (lost, kept):
        acknowledger.add(job, Completed())
    acknowledger.flush()
    assert acknowledger.finished_jobs == 1

    lost, kept = held(2)
    for job in (lost, kept):
        acknowledger.add(job, Completed())
    acknowledger.settle(acknowledger.gather(), {lost.pk})
    assert (acknowledger.finished_jobs, acknowledger.lost_jobs) == (2, 2)


def test_a_job_whose_outcome_is_refused_counts_as_finished(acknowledger, held):
    """It would have had another task; it is FAILED."""
    (bad,) = held(1)
    acknowledger.add(bad, Advanced(REFUSED["a time that is no time"], next_task="t", task_index=1))
    acknowledger.flush()

    assert row(bad).state == State.FAILED
    assert acknowledger.finished_jobs == 1


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


class Recorder:
    def __init__(self):
        self.told = []

    def tell(self, ended):
        self.told.append(set(ended))


def test_who_waits_is_told_of_ends_once_they_are_written_and_of_nothing_else(acknowledger, held):
    acknowledger._teller = recorder = Recorder()
    ended, goes_on, lost = held(3)
    Job.objects.filter(pk=lost.pk).update(token=99)
    acknowledger.add(ended, Completed())
    acknowledger.add(goes_on, Advanced(next_task="tests.project.tasks.noop", task_index=0))
    acknowledger.add(lost, Completed())
    acknowledger.flush()

    assert recorder.told == [{ended.pk}]


def test_nobody_is_told_of_what_could_not_be_written(engine, held):
    outage = Outage(engine, OperationalError("gone"))
    acknowledger = Acknowledger(outage, DatabaseClock(engine.now), worker="host:1")
    acknowledger._teller = recorder = Recorder()
    (job,) = held(1)
    acknowledger.add(job, Completed())
    with pytest.raises(OperationalError):
        acknowledger.flush()
    assert recorder.told == []

    outage.lasts = False
    acknowledger.flush()
    assert recorder.told == [{job.pk}]
