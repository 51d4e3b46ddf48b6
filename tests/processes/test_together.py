"""Several workers on one queue, also when the database throws them out: each job runs once."""

from __future__ import annotations

import contextlib

import pytest
from django.db import DatabaseError, connection

from django_dbq.rules.states import State
from tests.processes.conftest import states, wait_for_end

pytestmark = pytest.mark.processes


def test_of_two_workers_no_two_run_the_same_job(start, enqueue, ran, times_run):
    jobs = enqueue("note_slowly", 2_000)  # else the first one is done before the other starts
    workers = [start("--threads", 2), start()]
    wait_for_end(2_000, *workers)

    assert times_run() == dict.fromkeys(jobs, 1)
    assert len({pid for _, pid, _ in ran()}) == 2


def test_all_tasks_of_a_job_run_once_whichever_worker_runs_them(start, enqueue, times_run):
    jobs = enqueue("note_twice", 300)
    workers = [start("--burst"), start("--burst", "--processes", 2)]
    for worker in workers:
        assert worker.exit_code() == 0

    assert times_run() == dict.fromkeys(jobs, 2)
    assert states() == {State.COMPLETE: 300}


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has no sessions")
def test_when_the_database_ends_their_sessions_workers_come_back_and_no_job_is_lost_or_doubled(
    start, enqueue, times_run
):
    jobs = enqueue("note_slowly", 1_200)
    workers = [start(), start("--threads", 2)]
    for done in (100, 400, 700):
        workers[0].wait_until(lambda: states()[State.COMPLETE] >= done, f"{done} jobs were done")  # noqa: B023
        assert end_other_sessions() >= len(workers)
    wait_for_end(1_200, *workers)

    assert times_run() == dict.fromkeys(jobs, 1)
    assert all(worker.runs for worker in workers)


def end_other_sessions():
    """End every session on this database but ours; how many there were."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return len(cursor.fetchall())
        cursor.execute(
            "SELECT id FROM information_schema.processlist"
            " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        sessions = [row[0] for row in cursor.fetchall()]
        for session in sessions:
            with contextlib.suppress(DatabaseError):  # it has gone by itself
                cursor.execute(f"KILL {session}")
        return len(sessions)
