"""Rivals in the way: the statement is sent again, and the caller hears nothing of it."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_dbq.engines import Claim, statements
from django_dbq.models import Job
from django_dbq.rules.outcomes import Completed
from django_dbq.rules.states import State
from tests.compat.waiting import in_another_connection, wait_until
from tests.engines.conftest import DEATH, NOW, PATIENCE_SECONDS

LOCKS_ROWS = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it locks no single rows")
ONE_WRITER = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite has 1 writer")


def deadlock(engine):
    """Provoke one: two transactions, each of which wants the row that the other has.

    Returns what the loser's database said.
    """
    first, second = (Job.objects.create(name="noop") for _ in range(2))
    both_have_one = threading.Barrier(2, timeout=PATIENCE_SECONDS)
    errors = []

    def lock(mine, theirs):
        try:
            with transaction.atomic():
                Job.objects.filter(pk=mine.pk).update(priority=1)
                both_have_one.wait()
                Job.objects.filter(pk=theirs.pk).update(priority=2)
        except OperationalError as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [
        threading.Thread(target=lock, args=pair) for pair in ((first, second), (second, first))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    (error,) = errors
    return error


@LOCKS_ROWS
def test_a_real_deadlock_is_recognized(shared_engine):
    assert shared_engine.is_transient(deadlock(shared_engine))


@LOCKS_ROWS
def test_a_lock_that_does_not_come_in_time_is_recognized(shared_engine):
    job = Job.objects.create(name="noop")

    def want_it_quickly():
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET lock_timeout = '100ms'")
            else:
                cursor.execute("SET innodb_lock_wait_timeout = 1")
        with pytest.raises(OperationalError) as raised:
            Job.objects.filter(pk=job.pk).update(priority=1)
        return raised.value

    with transaction.atomic():
        Job.objects.select_for_update().get(pk=job.pk)
        error = in_another_connection(want_it_quickly)

    assert shared_engine.is_transient(error)


@ONE_WRITER
def test_a_locked_file_is_recognized(shared_engine):
    Job.objects.create(name="noop")

    def want_it_quickly():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(OperationalError) as raised:
            Job.objects.update(priority=1)
        return raised.value

    with transaction.atomic():
        Job.objects.update(priority=2)
        error = in_another_connection(want_it_quickly)

    assert shared_engine.is_transient(error)


@ONE_WRITER
def test_a_rescue_is_not_refused_for_what_others_write_meanwhile(shared_engine, monkeypatch):
    """SQLite does not wait for a lock when what the transaction has read is outdated."""
    shared_engine.insert_alike(Job(name="noop"), [{}, {}])
    shared_engine.claim(Claim(["default"], limit=2, worker_id=7, now=NOW))
    monkeypatch.setattr(statements, "TRIES_AT_A_CONTENDED_STATEMENT", 1)
    refused = []

    def write():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 50")
        try:
            Job.objects.create(name="noop")
        except OperationalError as error:
            refused.append(error)

    def read_while_others_write(*args):
        ids = read(*args)
        in_another_connection(write)
        return ids

    read = shared_engine._ids
    monkeypatch.setattr(shared_engine, "_ids", read_while_others_write)

    assert shared_engine.rescue(7, DEATH, now=NOW) == 2
    assert len(refused) == 1, "the other one had to wait for the rescue"


def test_other_errors_of_the_database_are_not_taken_for_rivals(shared_engine):
    with pytest.raises(Exception, match="no_such_table") as raised, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM no_such_table")

    assert not shared_engine.is_transient(raised.value)


@LOCKS_ROWS
def test_an_outcome_that_loses_a_deadlock_is_written_all_the_same(shared_engine):
    """A rival has one row of the batch and wants the other one."""
    shared_engine.insert_alike(Job(name="noop"), [{}, {}])
    jobs = shared_engine.claim(Claim(["default"], limit=2, worker_id=1, now=NOW))
    # Two tokens are two statements: between them the rival gets its chance.
    Job.objects.filter(pk=jobs[0].pk).update(token=5)
    jobs[0].token = 5
    rival_has_one, acknowledging = threading.Event(), threading.Event()
    rival_errors = []

    def rival():
        try:
            with transaction.atomic():
                Job.objects.filter(pk=jobs[1].pk).update(priority=1)
                rival_has_one.set()
                assert acknowledging.wait(PATIENCE_SECONDS)
                wait_until_somebody_waits_for_a_lock()
                Job.objects.filter(pk=jobs[0].pk).update(priority=1)
        except OperationalError as error:
            rival_errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=rival)
    thread.start()
    assert rival_has_one.wait(PATIENCE_SECONDS)
    acknowledging.set()
    lost = shared_engine.acknowledge([(job, Completed()) for job in jobs], now=NOW)
    thread.join(PATIENCE_SECONDS)

    assert lost == set()
    assert set(Job.objects.values_list("state", flat=True)) == {State.COMPLETE}
    assert all(shared_engine.is_transient(error) for error in rival_errors)


def wait_until_somebody_waits_for_a_lock():
    question = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted"
        if connection.vendor == "postgresql"
        else "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'"
    )

    def somebody_waits():
        with connection.cursor() as cursor:
            cursor.execute(question)
            return int(cursor.fetchone()[-1]) > 0

    wait_until(somebody_waits, "somebody waited for a lock")


class Rivals:
    """A verb that fails because of rivals a number of times."""

    def __init__(self, times, error=None):
        self.times_left, self.error, self.calls = times, error or OperationalError("rivals"), 0

    def __call__(self):
        self.calls += 1
        if self.times_left:
            self.times_left -= 1
            raise self.error
        return "done"


@pytest.fixture
def sees_rivals(shared_engine, monkeypatch):
    monkeypatch.setattr(shared_engine, "is_transient", lambda error: "rivals" in str(error))
    return shared_engine


def test_a_verb_is_tried_again_when_rivals_are_in_the_way(sees_rivals):
    verb = Rivals(statements.TRIES_AT_A_CONTENDED_STATEMENT - 1)
    verb.__name__ = "verb"

    assert sees_rivals._persistently(verb) == "done"


def test_a_verb_is_not_tried_for_ever(sees_rivals):
    verb = Rivals(1_000)
    verb.__name__ = "verb"

    with pytest.raises(OperationalError, match="rivals"):
        sees_rivals._persistently(verb)
    assert verb.calls == statements.TRIES_AT_A_CONTENDED_STATEMENT


def test_a_verb_that_fails_for_another_reason_is_not_tried_again(sees_rivals):
    verb = Rivals(1, OperationalError("the server is gone"))

    with pytest.raises(OperationalError, match="gone"):
        sees_rivals._persistently(verb)
    assert verb.calls == 1


def test_in_the_caller_s_transaction_a_verb_is_not_tried_again(sees_rivals):
    """The transaction is lost with the statement; only the caller can begin it anew."""
    verb = Rivals(1)

    with pytest.raises(OperationalError), transaction.atomic():
        sees_rivals._persistently(verb)
    assert verb.calls == 1
