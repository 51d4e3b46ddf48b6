"""How somebody who waits for a job learns of its end: on PostgreSQL, by a notification."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from django_dbq import queue
from django_dbq.engines import engine_for
from django_dbq.models import Job
from django_dbq.rules.states import State
from tests import databases
from tests.compat.waiting import PATIENCE_SECONDS, in_another_connection
from tests.pgbouncer import pgbouncer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only PostgreSQL notifies"),
]

LONG_SECONDS, AT_ONCE = 600.0, 10.0
SOME_ID = uuid.UUID("018f0000-0000-7000-8000-0000000000aa")
SHARES_ITS_KEY = uuid.UUID("018f0000-0000-7000-9000-0000000000aa")
HAS_NEGATIVE_KEY = uuid.UUID("018f0000-0000-7000-8000-0000ffffff01")
HAS_NO_KEY = uuid.UUID("018f0000-0000-7000-8000-000000000000")

any_id = pytest.mark.parametrize("job_id", [SOME_ID, HAS_NEGATIVE_KEY, HAS_NO_KEY], ids=str)


@pytest.fixture
def engine():
    yield engine_for("default")
    connection.close()


def begin(waiter, seconds=LONG_SECONDS):
    """The first long pause is none: it makes known who waits, and then there must be a look."""
    assert slept(waiter, seconds) < AT_ONCE


def slept(waiter, seconds=LONG_SECONDS):
    began_at = time.monotonic()
    waiter.pause(seconds)
    return time.monotonic() - began_at


def look():
    """Who has slept looks, and what came is read with that."""
    list(Job.objects.all())


def tell(*ids):
    """Another session's worker tells of these jobs' ends; how many statements it took."""

    def call():
        with CaptureQueriesContext(connection) as captured:
            engine_for("default").teller().tell(ids)
        return len(captured)

    return in_another_connection(call)


def awaited():
    return in_another_connection(lambda: engine_for("default").awaited_keys())


@any_id
def test_who_waits_is_notified_of_the_end(engine, job_id):
    with engine.waiter(job_id) as waiter:
        begin(waiter)
        assert tell(job_id) == 3

        assert slept(waiter) < AT_ONCE


@any_id
def test_what_came_while_it_looked_ends_the_next_sleep(engine, job_id):
    with engine.waiter(job_id) as waiter:
        begin(waiter)
        tell(job_id)
        look()

        assert slept(waiter) < AT_ONCE
        assert slept(waiter, 0.05) >= 0.05  # and only that


def test_of_other_jobs_nobody_is_notified(engine):
    with engine.waiter(SOME_ID) as waiter:
        begin(waiter)
        assert tell(HAS_NEGATIVE_KEY, HAS_NO_KEY) == 2

        assert slept(waiter, 0.05) >= 0.05


def test_each_of_several_who_wait_is_notified(engine):
    other = engine_for("default")
    with engine.waiter(SOME_ID) as first, other.waiter(SHARES_ITS_KEY) as second:
        begin(first)
        begin(second)
        tell(SOME_ID)

        assert slept(first) < AT_ONCE
        look()
        assert slept(second) < AT_ONCE


@any_id
def test_who_waits_is_known_until_the_wait_is_over(engine, job_id):
    assert awaited() == set()
    with engine.waiter(job_id) as waiter:
        begin(waiter)
        assert len(awaited()) == 1

    assert awaited() == set()


def test_short_pauses_tell_nobody(engine):
    with engine.waiter(SOME_ID) as waiter:
        with CaptureQueriesContext(connection) as captured:
            waiter.pause(0.002)

        assert len(captured) == 0
        assert awaited() == set()


def test_a_wait_leaves_the_session_as_it_was(engine):
    session = engine.connection.cursor().connection
    with engine.waiter(SOME_ID) as waiter:
        begin(waiter)
        assert held_by_this_session() == (2, 1)

    assert held_by_this_session() == (0, 0)
    assert session is engine.session
    assert not getattr(session, "_notify_handlers", None)


def held_by_this_session():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' "
            "AND pid = pg_backend_pid()), (SELECT COUNT(*) FROM pg_listening_channels())"
        )
        return cursor.fetchone()


def test_a_worker_asks_who_waits_four_times_a_second_at_most(engine, monkeypatch):
    teller = engine.teller()
    moment = 1_000.0
    monkeypatch.setattr("django_dbq.clock.monotonic", lambda: moment)
    with CaptureQueriesContext(connection) as captured:
        for _ in range(50):
            teller.tell([SOME_ID])
        assert len(captured) == 1

        moment += 0.251
        teller.tell([SOME_ID])
        assert len(captured) == 2


def test_as_long_as_nobody_waits_the_list_of_locks_is_not_made(engine):
    with CaptureQueriesContext(connection) as captured:
        engine.teller().tell([SOME_ID])

    (query,) = captured.captured_queries
    assert "pg_locks" not in query["sql"]


def test_a_worker_whose_jobs_have_not_ended_asks_nothing(engine):
    with CaptureQueriesContext(connection) as captured:
        engine.teller().tell([])

    assert len(captured) == 0


def test_two_workers_that_ask_at_the_same_time_wait_for_nobody(engine):
    with connection.cursor() as cursor:  # as long as this one is open, it has the lock
        connection.set_autocommit(False)
        cursor.execute("SELECT 1")
        engine.awaited_keys()
        try:
            assert awaited() == set()
        finally:
            connection.rollback()
            connection.set_autocommit(True)


def test_a_worker_that_cannot_tell_goes_on(engine):
    teller = engine.teller()
    look()
    connection.connection.close()

    teller.tell([SOME_ID])


def test_a_session_that_ends_while_somebody_waits_is_replaced(engine):
    with engine.waiter(SOME_ID) as waiter:
        begin(waiter)
        connection.close()
        look()
        begin(waiter)
        tell(SOME_ID)

        assert slept(waiter) < AT_ONCE
    assert held_by_this_session() == (0, 0)


def test_a_session_that_ends_for_good_hides_no_error(engine):
    with engine.waiter(SOME_ID) as waiter:
        begin(waiter)
        connection.connection.close()


def test_behind_a_pooler_it_only_sleeps(engine, monkeypatch):
    monkeypatch.setattr(type(engine), "has_its_own_session", False)
    look()
    with engine.waiter(SOME_ID) as waiter:
        begin(waiter)
        assert slept(waiter, 0.03) >= 0.03
        assert awaited() == set()


def test_behind_pgbouncer_it_leaves_nothing_on_a_session_that_others_share(engine):
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(pgbouncer())
        except databases.NoServer as reason:
            pytest.skip(str(reason))
        connection.close()
        stack.callback(setattr, connection, "settings_dict", connection.settings_dict)
        stack.callback(connection.close)
        server = databases.django_server("postgresql", url)
        connection.settings_dict = {**connection.settings_dict, **server}
        with engine.waiter(SOME_ID) as waiter:
            begin(waiter)
            assert slept(waiter, 0.03) >= 0.03
            assert awaited() == set()
            assert held_by_this_session() == (0, 0)  # of PgBouncer's with the server, the only one


def test_a_worker_s_outcomes_end_the_wait(engine):
    """All of it, but for the processes."""
    from django_dbq.clock import DatabaseClock
    from django_dbq.engines import Claim
    from django_dbq.rules.outcomes import SUCCESS
    from django_dbq.worker.acknowledger import Acknowledger

    job = queue.enqueue("noop")
    is_seen = threading.Event()

    def work():
        own = engine_for("default")
        acknowledger = Acknowledger(own, DatabaseClock(own.now), worker="host:1")
        (claimed,) = own.claim(Claim(["default"], limit=1, worker_id=1, now=own.now()))
        assert is_seen.wait(PATIENCE_SECONDS)
        acknowledger.add(claimed, SUCCESS)
        acknowledger.flush()
        connections.close_all()

    worker = threading.Thread(target=work)
    with engine.waiter(job.pk) as waiter:
        begin(waiter)
        worker.start()
        is_seen.set()
        assert slept(waiter) < AT_ONCE
        worker.join(PATIENCE_SECONDS)

    assert queue.wait_for(job, 0).state == State.COMPLETE
