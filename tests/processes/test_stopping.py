"""Signals, and options that say when it is enough."""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_dbq.models import Job
from django_dbq.rules.states import State
from tests.processes.conftest import is_alive, states, wait_for_end, workers

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_worker_that_is_told_to_stop_finishes_its_job_and_takes_no_more(
    start, enqueue, pid_that_runs, go_on, number
):
    (job,) = enqueue("hold", priority=1)
    enqueue("note", 5)
    worker = start()
    pid_that_runs(job, worker)
    worker.signal_group(number)  # as a terminal does
    worker.wait_until(lambda: states()[State.STOPPING] == 1, "the job was STOPPING")
    go_on()

    assert worker.exit_code() == 0
    assert states() == {State.COMPLETE: 1, State.NEW: 5}
    assert set(Job.objects.filter(state=State.NEW).values_list("attempts", flat=True)) == {0}
    assert workers() == []


def test_an_idle_worker_stops_at_once(start, transactional_db):
    worker = start()
    worker.wait_until(lambda: len(workers()) == 1, "the worker was registered")
    told_at = time.monotonic()
    worker.signal(signal.SIGTERM)

    assert worker.exit_code() == 0
    assert time.monotonic() - told_at < 5
    assert workers() == []


def test_a_second_signal_after_more_than_a_second_kills_and_gives_the_job_back(
    start, enqueue, pid_that_runs
):
    (job,) = enqueue("hold")
    worker = start()
    pid = pid_that_runs(job, worker)
    worker.signal(signal.SIGTERM)
    told_at = time.monotonic()
    worker.wait_until(lambda: states()[State.STOPPING] == 1, "the job was STOPPING")
    worker.wait_until(lambda: time.monotonic() - told_at > 1.1, "more than a second went by")
    worker.signal(signal.SIGTERM)

    assert worker.exit_code() == 1
    assert not is_alive(pid)
    assert states() == {State.READY: 1}
    assert workers() == []


def test_a_second_signal_within_a_second_is_the_same_wish(start, enqueue, pid_that_runs, go_on):
    (job,) = enqueue("hold")
    worker = start()
    pid_that_runs(job, worker)
    for _ in range(3):
        worker.signal_group(signal.SIGTERM)
    worker.wait_until(lambda: states()[State.STOPPING] == 1, "the job was STOPPING")
    go_on()

    assert worker.exit_code() == 0
    assert states() == {State.COMPLETE: 1}


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_a_burst_ends_when_the_queue_is_empty(start, enqueue, processes):
    enqueue("note_twice", 30)
    worker = start("--burst", "--processes", processes)

    assert worker.exit_code() == 0
    assert states() == {State.COMPLETE: 30}
    assert workers() == []


def test_a_burst_leaves_jobs_that_are_not_due(start, enqueue):
    enqueue("note")
    enqueue("note", run_after=timezone.now() + timedelta(hours=1))
    worker = start("--burst")

    assert worker.exit_code() == 0
    assert states() == {State.COMPLETE: 1, State.NEW: 1}


def test_a_process_ends_after_its_largest_number_of_jobs(start, enqueue):
    enqueue("note", 30)
    worker = start("--max-jobs", 7)

    assert worker.exit_code() == 0
    assert states() == {State.COMPLETE: 7, State.NEW: 23}


def test_the_first_queue_is_emptied_before_the_next(start, enqueue, ran):
    for queue in ("third", "second", "first", "unserved"):
        enqueue("note", 5, queue_name=queue)
    worker = start("first", "second", "third", "--burst")

    assert worker.exit_code() == 0
    assert [queue for _, _, queue in ran()] == ["first"] * 5 + ["second"] * 5 + ["third"] * 5
    assert states() == {State.COMPLETE: 15, State.NEW: 5}


def test_threads_run_jobs_side_by_side(start, enqueue, ran, go_on):
    enqueue("hold", 3)
    worker = start("--threads", 3)
    worker.wait_until(lambda: len(ran()) == 3, "three jobs ran at the same time")
    go_on()
    wait_for_end(3, worker)

    assert len({pid for _, pid, _ in ran()}) == 1


def test_processes_run_jobs_side_by_side(start, enqueue, ran, go_on):
    enqueue("hold", 2)
    worker = start("--processes", 2)
    worker.wait_until(lambda: len(ran()) == 2, "two jobs ran at the same time")
    go_on()
    wait_for_end(2, worker)

    assert len({pid for _, pid, _ in ran()}) == 2


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_worker_serves_the_database_that_it_is_told(start, enqueue, ran):
    (there,) = enqueue("note", using="other")
    enqueue("note")
    worker = start("--database", "other", "--burst")

    assert worker.exit_code() == 0
    assert [job for job, _, _ in ran()] == [there]
    assert states("other") == {State.COMPLETE: 1}
    assert states() == {State.NEW: 1}


def test_between_jobs_lies_the_rate_limit(start, enqueue):
    enqueue("note", 3)
    worker = start("--rate_limit", "0.4", "--burst")

    assert worker.exit_code() == 0
    moments = sorted(Job.objects.values_list("finished_at", flat=True))
    gaps = [(later - earlier).total_seconds() for earlier, later in zip(moments, moments[1:])]
    assert all(gap > 0.35 for gap in gaps)


# ── What cannot be served ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate_limit", "-1"],
        ["--rate_limit", "nan"],
        ["--rate_limit", "often"],
        ["--threads", "0"],
        ["--async-concurrency", "0"],
        ["--processes", "-1"],
        ["--max-jobs", "0"],
        ["--database", "no_such_alias"],
    ],
    ids=" ".join,
)
def test_an_option_that_makes_no_sense_is_told_and_nothing_starts(start, arguments):
    worker = start(*arguments)

    assert worker.exit_code() in (1, 2)
    assert "Traceback" not in worker.output
    assert arguments[0].strip("-") in worker.output or arguments[1] in worker.output


def test_a_database_that_is_down_at_the_start_is_told(start, tmp_path, database_kind):
    if database_kind == "sqlite":
        worker = start(DBQ_TEST_NAMES=f"default={tmp_path}/no/such/folder/db.sqlite3")
    else:
        worker = start(DBQ_TEST_PORT=1)  # nobody listens there

    assert worker.exit_code() == 1
    assert "Traceback" not in worker.output
    assert "cannot be reached" in worker.output


def test_a_database_without_our_tables_is_told(start, tmp_path, database_kind, transactional_db):
    name = str(tmp_path / "empty.sqlite3")
    if database_kind != "sqlite":
        name = connection.settings_dict["NAME"] + "_empty"
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
    try:
        worker = start(DBQ_TEST_NAMES=f"default={name}")

        assert worker.exit_code() == 1
        assert "Traceback" not in worker.output
        assert "manage.py migrate django_dbq --database default" in worker.output
    finally:
        if database_kind != "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name}")
