"""Who waits in one process for a job that a worker of another process runs."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections

from django_dbq import queue
from django_dbq.engines import endings, engine_for
from django_dbq.queue import waiting
from django_dbq.rules.states import State
from tests import databases
from tests.compat.waiting import PATIENCE_SECONDS, wait_until
from tests.pgbouncer import pgbouncer

pytestmark = pytest.mark.processes
needs_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="not PostgreSQL")


def test_who_waits_sees_the_end_of_a_job_in_a_worker_process(enqueue, start):
    (job,) = enqueue("note")
    start("--rate_limit", "0")

    assert queue.wait_for(job, PATIENCE_SECONDS).state == State.COMPLETE


@needs_postgresql
@pytest.mark.parametrize("worker_is", ["beside us", "behind PgBouncer"])
def test_a_worker_process_wakes_who_sleeps_for_long(
    enqueue, start, go_on, monkeypatch, request, worker_is
):
    monkeypatch.setattr(waiting, "SHARE", 1e6)
    monkeypatch.setattr(waiting, "LONGEST_SECONDS", 600.0)
    (job,) = enqueue("hold")
    there = request.getfixturevalue("bouncer") if worker_is == "behind PgBouncer" else {}
    start("--rate_limit", "0", **there)

    def let_it_end():
        wait_until(engine_for("default").awaited_keys, "somebody waits")
        go_on()

    with meanwhile(let_it_end):
        began_at = time.monotonic()
        assert queue.wait_for(job, PATIENCE_SECONDS).state == State.COMPLETE
        assert time.monotonic() - began_at < PATIENCE_SECONDS / 2  # when it would have looked


@needs_postgresql
@pytest.mark.parametrize("way", ["wait_for", "await_for"])
def test_behind_pgbouncer_who_waits_sees_the_end_and_is_seen_by_nobody(
    enqueue, start, go_on, we_are_behind_pgbouncer, way
):
    (job,) = enqueue("hold")
    start("--rate_limit", "0")
    seen = []

    def let_it_end_when_we_sleep_for_long():
        began_at = time.monotonic()
        wait_until(lambda: time.monotonic() - began_at > 0.5, "we wait for a while")
        seen.append(locks_of_who_waits())
        go_on()

    with meanwhile(let_it_end_when_we_sleep_for_long):
        ended = WAYS[way](job)

    assert ended.state == State.COMPLETE
    assert seen == [0]


def locks_of_who_waits():
    """As any session sees them. (One that had to share its own with others would get the lock.)"""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            [endings.WAITING_CLASS],
        )
        return cursor.fetchone()[0]


async def awaited(job):
    try:
        return await queue.await_for(job, PATIENCE_SECONDS)
    finally:
        await sync_to_async(connections.close_all)()


WAYS = {
    "wait_for": lambda job: queue.wait_for(job, PATIENCE_SECONDS),
    "await_for": lambda job: asyncio.run(awaited(job)),
}


@contextmanager
def meanwhile(function):
    """Call it on a thread, with connections of its own."""

    def call():
        try:
            function()
        finally:
            connections.close_all()

    other = threading.Thread(target=call)
    other.start()
    try:
        yield
    finally:
        other.join(PATIENCE_SECONDS)


@pytest.fixture
def bouncer_url():
    try:
        with pgbouncer() as url:
            yield url
    except databases.NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture
def bouncer(bouncer_url):
    """What leads a worker through PgBouncer."""
    return {"DBQ_TEST_PORT": urlsplit(bouncer_url).port}


@pytest.fixture
def we_are_behind_pgbouncer(transactional_db, bouncer_url):
    """Until before the tables are emptied, and on threads that begin meanwhile."""
    own = connections["default"]
    entry = {**own.settings_dict, **databases.django_server("postgresql", bouncer_url)}
    own.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections.databases, "default", entry)
        patch.setattr(own, "settings_dict", entry)
        yield
        own.close()
        # The thread on which async code asks the database outlives this test.
        asyncio.run(sync_to_async(forget_connection)())


def forget_connection():
    connections["default"].close()
    del connections["default"]
