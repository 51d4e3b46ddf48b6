"""Async jobs, many at a time on one event loop, beside the threads."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import sys
import threading
import time

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from django_dbq.exceptions import JobTimeout
from django_dbq.models import Attempt, Job
from django_dbq.rules.outcomes import CalledOff, Completed, Failed, HandedBack, Retried
from django_dbq.rules.states import State
from django_dbq.worker import connections, event_loop, shared_thread
from django_dbq.worker.async_runs import AsyncRun
from tests.compat.waiting import wait_until
from tests.worker.bench import benches
from tests.worker.conftest import now, row

PATIENCE_SECONDS = 30

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bench():
    with benches() as bench:
        yield bench


@pytest.fixture
def may_go_on():
    event = threading.Event()
    yield event
    event.set()


def jobs(count=1, **fields):
    return [Job(name="job", attempts=1, next_task="", **fields) for _ in range(count)]


def holding(may_go_on, begun=None):
    """An async task that waits until it may go on."""

    async def hold(job):
        if begun is not None:
            begun.append(job)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not may_go_on.is_set():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    return hold


# ── Where jobs run ───────────────────────────────────────────────────────────────────────────────


def test_async_jobs_run_at_the_same_time_on_one_thread_beside_that_of_the_others(bench, declare):
    threads, present = set(), []

    async def meet(job):
        threads.add(threading.get_ident())
        present.append(job)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(present) < 10:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)

    declare(meet)
    busy = bench(threads=1, slots=10)
    busy.submit(*jobs(10))

    assert busy.outcomes(10) == [Completed()] * 10
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_without_async_jobs_there_is_no_event_loop(bench, declare):
    declare(lambda job: None)
    busy = bench()
    busy.submit(*jobs(3))

    assert busy.outcomes(3) == [Completed()] * 3
    assert "dbq-async" not in {thread.name for thread in threading.enumerate()}


def test_a_job_goes_back_when_there_can_be_no_event_loop(bench, declare, monkeypatch):
    async def task(job):
        pass

    async def broken(*arguments):
        raise OSError("too many open files")

    declare(task)
    monkeypatch.setattr(shared_thread, "in_thread", broken)
    busy = bench()
    busy.submit(*jobs())

    (outcome,) = busy.outcomes()
    assert isinstance(outcome, HandedBack)
    assert not outcome.is_started
    assert busy.pool.waiting == 0


def test_no_more_run_at_a_time_than_there_are_slots(bench, declare, may_go_on):
    begun = []
    declare(holding(may_go_on, begun))
    busy = bench(slots=2)
    busy.submit(*jobs(5))
    wait_until(lambda: len(begun) == 2, "two jobs had begun")
    wait_until(lambda: busy.pool.waiting == 3, "the others were known to be async")

    assert {job.pk for job in busy.pool.running} == {job.pk for job in begun}
    assert busy.pool.free_slots == 0
    may_go_on.set()
    assert busy.outcomes(5) == [Completed()] * 5
    assert len(begun) == 5


def test_a_long_task_on_the_only_thread_keeps_no_async_job_from_running(
    bench, declare, settings, may_go_on
):
    begun = threading.Event()

    def occupy(job):
        begun.set()
        assert may_go_on.wait(PATIENCE_SECONDS)

    async def task(job):
        pass

    declare(task)
    settings.JOBS["known"] = settings.JOBS["job"]
    declare(occupy)
    busy = bench(threads=1)
    busy.submit(Job(name="known", attempts=1))
    busy.outcomes()
    path = settings.JOBS["known"]["tasks"][0]
    busy.submit(*jobs(1))
    assert begun.wait(PATIENCE_SECONDS)
    busy.submit(Job(name="known", next_task=path, attempts=1))

    assert busy.outcomes(2) == [Completed()] * 2
    assert busy.pool.on_threads == 1


def test_what_has_not_begun_can_be_taken_back_and_never_begins(bench, declare, may_go_on):
    begun = []
    declare(holding(may_go_on, begun))
    busy = bench(slots=1)
    given = jobs(4)
    busy.submit(*given)
    wait_until(lambda: begun and busy.pool.waiting == 3, "one had begun, and three were found out")

    taken = busy.pool.take_back()
    may_go_on.set()
    busy.outcomes()

    assert {*map(id, begun), *map(id, taken)} == set(map(id, given))
    assert len(begun) == 1


def test_what_waits_for_a_slot_is_overdue_when_none_becomes_free(bench, declare, may_go_on):
    begun = []
    declare(holding(may_go_on, begun))
    busy = bench(slots=1)
    busy.submit(*jobs(3))
    wait_until(lambda: begun and busy.pool.waiting == 2, "one had begun, and two were found out")

    assert busy.pool.take_overdue(60) == []
    wait_until(lambda: len(busy.pool.take_overdue(0.05)) == 2, "the others were overdue")
    assert busy.pool.waiting == 0


def test_what_waits_for_a_thread_is_overdue_however_many_async_jobs_come(
    bench, declare, settings, may_go_on
):
    async def task(job):
        pass

    declare(task)
    settings.JOBS["known"] = settings.JOBS["job"]
    declare(lambda job: may_go_on.wait(PATIENCE_SECONDS))
    busy = bench(threads=1)
    busy.submit(Job(name="known", attempts=1))
    busy.outcomes()
    busy.submit(*jobs(2))
    path = settings.JOBS["known"]["tasks"][0]

    def is_overdue():
        busy.submit(Job(name="known", next_task=path, attempts=1))
        return busy.pool.take_overdue(0.1)

    assert len(wait_until(is_overdue, "the second job was overdue")) == 1


def test_the_share_of_async_jobs_is_learnt(bench, declare, settings):
    async def task(job):
        pass

    declare(task)
    busy = bench()
    assert busy.pool.async_share.value is None
    busy.submit(*jobs(1))
    busy.outcomes()

    assert busy.pool.async_share.value == 1.0
    assert busy.pool.pace.mean_seconds is None  # of threads, which have run none


def test_a_job_stands_in_the_ledger_while_it_runs(bench, declare, may_go_on):
    begun = []
    declare(holding(may_go_on, begun))
    busy = bench(slots=3)
    busy.submit(*jobs(5))
    wait_until(lambda: len(begun) == 3, "three jobs had begun")

    assert busy.ledger.running() == {job.pk for job in begun}
    may_go_on.set()
    busy.outcomes(5)
    wait_until(lambda: busy.ledger.running() == frozenset(), "none was left in the ledger")


# ── What becomes of them ─────────────────────────────────────────────────────────────────────────


def test_what_a_task_returns_is_its_result(bench, declare):
    async def task(job):
        await asyncio.sleep(0)
        return {"answer": 42}

    declare(task)
    busy = bench()
    busy.submit(*jobs())

    (outcome,) = busy.outcomes()
    assert outcome == Completed({"result": {"answer": 42}})


def test_what_a_task_raises_is_its_failure(bench, declare):
    async def task(job):
        await asyncio.sleep(0)
        raise LookupError("no such thing")

    declare(task)
    busy = bench()
    busy.submit(*jobs())

    (outcome,) = busy.outcomes()
    assert isinstance(outcome, Failed)
    assert (outcome.story.exception, outcome.story.message) == (
        "builtins.LookupError",
        "no such thing",
    )
    assert "in task" in outcome.story.traceback


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_whatever_a_task_raises_the_event_loop_goes_on(bench, declare, kind):
    async def task(job):
        if job.priority:
            raise kind("odd")

    declare(task)
    busy = bench()
    busy.submit(*jobs(1, priority=1), *jobs(3))

    kinds = sorted(type(outcome).__name__ for outcome in busy.outcomes(4))
    assert kinds == ["Completed"] * 3 + ["Failed"]


def test_the_event_loop_survives_a_task_of_a_task_that_exits(bench, declare):
    async def leave():
        raise SystemExit(3)

    async def task(job):
        if job.priority:
            await asyncio.gather(leave())

    declare(task)
    busy = bench()
    busy.submit(*jobs(1, priority=1), *jobs(3))

    kinds = sorted(type(outcome).__name__ for outcome in busy.outcomes(4))
    assert kinds == ["Completed"] * 3 + ["Failed"]


def test_a_retry_follows_the_same_rules(bench, declare):
    async def task(job):
        raise OSError("not yet")

    declare(task, retry={"max_attempts": 2, "delays": [7]})
    busy = bench()
    busy.submit(*jobs())

    (outcome,) = busy.outcomes()
    assert isinstance(outcome, Retried)
    assert outcome.after.total_seconds() == 7


def test_hooks_run_in_order_where_they_may_use_the_database(bench, declare):
    called = []

    def note(what):
        def hook(job, *args):
            Job.objects.exists()  # refused on a thread with an event loop
            called.append(what)

        return hook

    async def task(job):
        called.append("task")
        if job.priority:
            raise LookupError

    declare(
        task,
        pre_task_hook=note("before"),
        post_task_hook=note("after"),
        failure_hook=note("failure"),
    )
    busy = bench()
    busy.submit(*jobs())
    assert busy.outcomes() == [Completed()]
    assert called == ["before", "task", "after"]

    called.clear()
    busy.submit(*jobs(1, priority=1))
    assert isinstance(busy.outcomes(2)[1], Failed)
    assert called == ["before", "task", "failure", "after"]


def test_what_a_task_changes_on_its_job_is_saved(bench, declare, claimed, engine):
    async def task(job):
        job.workspace["seen"] = await Job.objects.acount()

    declare(task)
    job = claimed({})
    busy = bench()
    busy.submit(job)

    busy.outcomes()
    engine.acknowledge(busy.finished, now=now())
    assert row(job).state == State.COMPLETE
    assert row(job).workspace == {"seen": 1}


def test_all_async_jobs_share_one_connection_which_ends_with_the_pool(bench, declare):
    used = []

    async def task(job):
        await Job.objects.aexists()
        await asyncio.gather(*(Job.objects.aexists() for _ in range(3)))
        used.append(await event_loop.in_thread(_own_connection))

    declare(task)
    busy = bench()
    busy.submit(*jobs(5))
    assert busy.outcomes(5) == [Completed()] * 5
    busy.pool.__exit__(None, None, None)
    busy.pool.__enter__()

    assert len(set(map(id, used))) == 1
    assert used[0].connection is None


def _own_connection():
    connection.inc_thread_sharing()  # so that the test may look at it
    return connection._connections[connection._alias]


def test_after_a_failed_task_a_broken_connection_is_replaced(bench, declare, database_kind):
    if database_kind == "sqlite":
        pytest.skip("Django takes every connection to an SQLite file for a usable one")

    async def break_it():
        def close_behind_djangos_back():
            connection.ensure_connection()
            connection.connection.close()

        await event_loop.in_thread(close_behind_djangos_back)
        await Job.objects.aexists()

    async def task(job):
        if job.priority:
            await break_it()
        await Job.objects.aexists()

    declare(task)
    busy = bench()
    busy.submit(*jobs(1, priority=1))
    busy.outcomes()
    busy.submit(*jobs())

    first, second = busy.outcomes(2)
    assert isinstance(first, Failed)
    assert second == Completed()


def test_a_transaction_that_a_task_leaves_open_is_rolled_back_and_the_task_fails(bench, declare):
    def begin_and_forget():
        transaction.set_autocommit(False)
        Job.objects.create(name="noop")

    async def task(job):
        if job.priority:
            await event_loop.in_thread(begin_and_forget)
        else:
            await Job.objects.acreate(name="noop", queue_name="kept")

    declare(task)
    busy = bench()
    busy.submit(*jobs(1, priority=1))
    busy.outcomes()
    busy.submit(*jobs(1))

    first, second = busy.outcomes(2)
    assert isinstance(first, Failed)
    assert first.story.exception.endswith("TransactionLeftOpen")
    assert second == Completed()
    assert [job.queue_name for job in Job.objects.all()] == ["kept"]


@pytest.fixture
def slow_call(declare, settings, may_go_on):
    """Submit a job that holds the shared thread, in a transaction, until it may go on."""
    inside = threading.Event()

    def hold_transaction():
        with transaction.atomic():
            Job.objects.exists()
            inside.set()
            assert may_go_on.wait(PATIENCE_SECONDS)

    async def slow(job):
        await event_loop.in_thread(hold_transaction)

    def submit_to(busy):
        declare(slow)
        settings.JOBS["slow"] = settings.JOBS["job"]
        busy.submit(Job(name="slow", attempts=1))
        assert inside.wait(PATIENCE_SECONDS)

    return submit_to


def test_a_transaction_of_another_task_is_none_that_was_left_open(
    bench, declare, slow_call, may_go_on
):
    async def task(job):
        asyncio.get_running_loop().call_later(0.05, may_go_on.set)

    busy = bench()
    slow_call(busy)
    declare(task)
    busy.submit(*jobs())

    assert busy.outcomes(2) == [Completed()] * 2


def test_a_task_that_has_returned_does_not_time_out_behind_the_call_of_another(
    bench, declare, slow_call, may_go_on
):
    returned = []

    async def task(job):
        returned.append(time.monotonic())

    busy = bench()
    slow_call(busy)
    declare(task, timeout=0.05)
    busy.submit(*jobs())
    wait_until(lambda: returned, "it had returned")

    def should_have_ended():
        busy.watch.look()
        return time.monotonic() > returned[0] + 0.1

    wait_until(should_have_ended, "its time was over")
    may_go_on.set()
    assert busy.outcomes(2) == [Completed()] * 2


def test_the_process_is_not_killed_for_a_task_that_ended_in_time_behind_the_call_of_another(
    bench, declare, slow_call, may_go_on
):
    begun = []

    async def task(job):
        begun.append(True)
        await asyncio.sleep(PATIENCE_SECONDS * 10)

    busy = bench()
    slow_call(busy)
    declare(task, timeout=0.05, grace=0.05)
    busy.submit(*jobs())
    wait_until(lambda: begun, "it had begun")

    def is_limited():
        busy.watch.look()
        return busy.ledger.overdue(time.monotonic() + PATIENCE_SECONDS)

    wait_until(lambda: not is_limited(), "nothing was limited any more")
    may_go_on.set()
    completed, failed = sorted(busy.outcomes(2), key=lambda outcome: outcome.state)
    assert completed == Completed()
    assert failed.story.exception == f"{JobTimeout.__module__}.JobTimeout"


def test_a_connection_that_is_closed_when_a_task_has_ended_costs_it_nothing(
    bench, declare, monkeypatch
):
    """On its own thread; SQLite's then refuses to be asked by another one."""
    asked, has_begun = [], connections._has_begun_unnoticed

    def is_closed(driver_connection):
        if threading.current_thread().name == "dbq-async":
            asked.append(driver_connection)
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
        return has_begun(driver_connection)

    async def ask(job):
        await Job.objects.acount()

    monkeypatch.setattr(connections, "_has_begun_unnoticed", is_closed)
    declare(ask)
    busy = bench()
    busy.submit(*jobs(1))

    assert [type(outcome) for outcome in busy.outcomes()] == [Completed]
    assert asked


def test_an_async_task_that_is_declared_atomic_fails_and_says_why(bench, declare):
    ran, told = [], []

    async def task(job):
        ran.append(job)

    def tell(job, error):
        told.append(error)

    declare(task, atomic=True, failure_hook=tell)
    busy = bench()
    (unknown,), (known,) = jobs(), jobs()
    busy.submit(unknown)
    busy.outcomes()
    known.next_task = known.declaration.tasks[0]
    busy.submit(known)

    for outcome in busy.outcomes(2):
        assert isinstance(outcome, Failed)
        assert "async transactions" in outcome.story.message
    assert ran == []
    assert len(told) == 2


def test_a_verdict_is_none_of_the_event_loops(bench, declare):
    """A job that was killed for its timeout fails, and its task does not run again."""
    ran = []

    async def task(job):
        ran.append(job)

    declare(task)
    busy = bench()
    busy.submit(*jobs(1))
    busy.outcomes()
    path = busy.finished[0][0].declaration.tasks[0]
    busy.submit(Job(name="job", next_task=path, attempts=1, killed_at=now()))

    assert isinstance(busy.outcomes(2)[1], Failed)
    assert len(ran) == 1


# ── How they are made to end ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def tidied():
    return []


@pytest.fixture
def endless(declare, tidied):
    """Declare a task that waits for ever, and tidies up when it must end."""

    def endless(**options):
        async def task(job):
            try:
                await asyncio.sleep(PATIENCE_SECONDS * 10)
            except asyncio.CancelledError:
                tidied.append("except")
                raise
            finally:
                await asyncio.sleep(0)
                tidied.append("finally")

        declare(task, **options)

    return endless


def running(bench, count=1):
    wait_until(lambda: len(bench.pool.runs) == count, f"{count} jobs ran")
    wait_until(lambda: {type(run) for run in bench.pool.runs} == {AsyncRun}, "they were moved")


def test_a_timeout_cancels_the_task_which_fails_with_job_timeout(bench, endless, tidied):
    endless(timeout=0.05)
    busy = bench()
    busy.submit(*jobs())

    (outcome,) = busy.outcomes()
    assert isinstance(outcome, Failed)
    assert outcome.story.exception == f"{JobTimeout.__module__}.JobTimeout"
    assert tidied == ["except", "finally"]


def test_a_cancelled_job_is_called_off(bench, endless, tidied):
    endless()
    busy = bench()
    (job,) = jobs()
    busy.submit(job)
    running(busy)
    busy.watch.cancel([job.pk])

    assert busy.outcomes() == [CalledOff()]
    assert tidied == ["except", "finally"]


def test_a_worker_that_must_go_gets_its_jobs_back(bench, endless, tidied):
    endless()
    busy = bench()
    busy.submit(*jobs(3))
    running(busy, 3)
    busy.watch.interrupt_all()

    assert busy.outcomes(3) == [HandedBack(is_started=True)] * 3
    assert len(tidied) == 6


def test_a_job_that_is_interrupted_in_the_hook_before_its_task_does_not_begin(
    bench, declare, may_go_on
):
    ran = []

    def wait_in_hook(job):
        assert may_go_on.wait(PATIENCE_SECONDS)

    async def task(job):
        ran.append(job)

    declare(task, pre_task_hook=wait_in_hook)
    busy = bench()
    busy.submit(*jobs())
    running(busy)
    busy.watch.interrupt_all()
    may_go_on.set()

    assert busy.outcomes() == [HandedBack(is_started=True)]
    assert ran == []


def test_only_the_first_interruption_counts(bench, declare, may_go_on):
    swallowed = []

    async def task(job):
        try:
            await asyncio.sleep(PATIENCE_SECONDS)
        except asyncio.CancelledError:
            swallowed.append(job)
        while not may_go_on.is_set():
            await asyncio.sleep(0.005)
        return "done all the same"

    declare(task)
    busy = bench()
    (job,) = jobs()
    busy.submit(job)
    running(busy)
    busy.watch.cancel([job.pk])
    wait_until(lambda: swallowed, "the task had swallowed it")
    busy.watch.interrupt_all()
    may_go_on.set()

    assert busy.outcomes() == [Completed({"result": "done all the same"})]
    assert len(swallowed) == 1


def test_a_cancellation_of_the_tasks_own_is_a_failure_of_the_task(bench, declare):
    async def task(job):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    declare(task)
    busy = bench()
    busy.submit(*jobs())

    (outcome,) = busy.outcomes()
    assert isinstance(outcome, Failed)
    assert outcome.story.exception.endswith("CancelledError")


def test_a_task_that_will_not_end_is_in_the_ledger_for_the_supervisor(bench, declare, may_go_on):
    begun = []
    declare(holding(may_go_on, begun), timeout=60, grace=5)
    busy = bench()
    (job,) = jobs()
    busy.submit(job)
    wait_until(lambda: begun, "it had begun")
    limit = time.monotonic() + 65

    assert busy.ledger.overdue(limit - 10) == frozenset()
    assert busy.ledger.overdue(limit) == {job.pk}
    may_go_on.set()
    busy.outcomes()
    wait_until(lambda: not busy.ledger.overdue(limit), "it was not overdue any more")


def test_the_time_of_what_a_cancelled_task_has_left_on_a_thread_is_the_tasks(
    bench, declare, may_go_on
):
    async def task(job):
        await sync_to_async(may_go_on.wait)(PATIENCE_SECONDS)

    declare(task, timeout=0.05, grace=0.05)
    busy = bench()
    (job,) = jobs()
    busy.submit(job)

    def is_overdue():
        busy.watch.look()
        return busy.ledger.overdue(time.monotonic())

    wait_until(is_overdue, "its process was to be killed")
    may_go_on.set()
    (outcome,) = busy.outcomes()
    assert outcome.story.exception == f"{JobTimeout.__module__}.JobTimeout"


def test_what_a_job_has_left_running_ends_with_the_pool(bench, declare):
    ended = []

    async def stay():
        try:
            await asyncio.sleep(PATIENCE_SECONDS * 10)
        finally:
            ended.append(True)

    left = []

    async def task(job):
        left.append(asyncio.create_task(stay()))
        await asyncio.sleep(0)

    declare(task)
    busy = bench()
    busy.submit(*jobs())
    busy.outcomes()
    busy.pool.__exit__(None, None, None)
    busy.pool.__enter__()

    assert ended == [True]


# ── Who blocks ───────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_blocks_is_named_in_the_log_once(
    bench, declare, may_go_on, caplog, monkeypatch
):
    monkeypatch.setattr(event_loop, "BLOCKED_SECONDS", 0.05)

    async def block(job):
        may_go_on.wait(PATIENCE_SECONDS)

    declare(block)
    busy = bench()
    (job,) = jobs()
    with caplog.at_level(logging.WARNING, "django_dbq.worker"):
        busy.submit(job)

        def is_told():
            busy.pool.warn_of_blocking()
            return caplog.messages

        wait_until(is_told, "somebody was named")
        busy.pool.warn_of_blocking()
    may_go_on.set()

    (message,) = caplog.messages
    assert str(job.pk) in message
    assert job.declaration.tasks[0] in message
    assert f"{os.path.basename(threading.__file__)}" in message


def test_what_a_task_has_started_and_what_blocks_is_named_too(
    bench, declare, may_go_on, caplog, monkeypatch
):
    monkeypatch.setattr(event_loop, "BLOCKED_SECONDS", 0.05)

    async def block_in_a_task():
        may_go_on.wait(PATIENCE_SECONDS)

    async def task(job):
        await asyncio.gather(block_in_a_task())

    declare(task)
    busy = bench()
    (job,) = jobs()
    with caplog.at_level(logging.WARNING, "django_dbq.worker"):
        busy.submit(job)

        def is_told():
            busy.pool.warn_of_blocking()
            return caplog.messages

        wait_until(is_told, "somebody was named")
    may_go_on.set()

    # Whose task it is, tasks of asyncio's tell from Python 3.12 on.
    known_by = str(job.pk) if sys.version_info >= (3, 12) else "block_in_a_task"
    assert known_by in caplog.messages[0]


def test_nobody_is_blamed_while_the_loop_goes_on(bench, declare, may_go_on, caplog, monkeypatch):
    monkeypatch.setattr(event_loop, "BLOCKED_SECONDS", 0.1)
    declare(holding(may_go_on))
    busy = bench()
    busy.submit(*jobs())
    running(busy)
    looked_until = time.monotonic() + 0.6
    while time.monotonic() < looked_until:
        busy.pool.warn_of_blocking()
    may_go_on.set()
    busy.outcomes()

    assert not [line for line in caplog.messages if "blocks" in line]


# ── Stories ──────────────────────────────────────────────────────────────────────────────────────


def test_a_story_of_a_failed_async_attempt_is_kept(bench, declare, claimed, engine):
    async def task(job):
        raise LookupError("no such thing")

    declare(task)
    job = claimed({})
    busy = bench()
    busy.submit(job)
    busy.outcomes()
    engine.acknowledge(busy.finished, now=now(), worker="host:1")

    assert row(job).state == State.FAILED
    assert Attempt.objects.get(job_id=job.pk).message == "no such thing"
