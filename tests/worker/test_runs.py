"""A run on a thread: timed, interrupted, and noted in the ledger."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from django.db import connection

from django_dbq import clock
from django_dbq.exceptions import JobCancelled, JobTimeout
from django_dbq.models import Job
from django_dbq.rules.outcomes import CalledOff, Completed, Failed
from django_dbq.worker.executor import perform
from django_dbq.worker.ledger import NEVER, Ledger
from django_dbq.worker.pools import ThreadPool
from django_dbq.worker.runs import ThreadRun
from django_dbq.worker.watch import Watch
from tests.compat.waiting import wait_until

PATIENCE_SECONDS = 30


def next_kill_at(ledger):
    return min((kill_at for _, kill_at, _ in ledger._entries()), default=NEVER)


def spin(job):
    """Python code that does not end by itself before the test has failed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        pass


@pytest.fixture
def ledger():
    return Ledger(1)


@pytest.fixture
def timed(settings):
    """A job whose task may take a minute, and five seconds more."""
    settings.JOBS = {"job": {"tasks": ["tests.project.tasks.noop"], "timeout": 60}}
    return Job(name="job")


def test_a_job_stands_in_the_ledger_while_it_is_performed(ledger):
    run, seen = ThreadRun(Job(name="noop"), ledger, 0), []

    def perform(job, interruptible):
        seen.append(ledger.running())
        return Completed()

    assert run.perform(perform) == Completed()
    assert seen == [{run.job.pk}]
    assert ledger.running() == frozenset()


def test_a_job_leaves_the_ledger_whatever_is_raised(ledger):
    def perform(job, interruptible):
        raise SystemExit

    with pytest.raises(SystemExit):
        ThreadRun(Job(name="noop"), ledger, 0).perform(perform)
    assert ledger.running() == frozenset()


def test_only_the_task_itself_is_timed(ledger, timed):
    run = ThreadRun(timed, ledger, 0)

    def perform(job, interruptible):
        assert (run.timeout_at, next_kill_at(ledger)) == (NEVER, NEVER)
        with interruptible:
            assert 59 < run.timeout_at - clock.monotonic() <= 60
            assert next_kill_at(ledger) == run.timeout_at + 5
        assert (run.timeout_at, next_kill_at(ledger)) == (NEVER, NEVER)
        return Completed()

    run.perform(perform)


def test_a_run_that_is_interrupted_before_its_task_begins_is_not_timed(ledger, timed):
    run = ThreadRun(timed, ledger, 0)
    run.interrupt(JobCancelled, grace_seconds=5)

    def perform(job, interruptible):
        with pytest.raises(JobCancelled), interruptible:
            pass
        assert (run.timeout_at, next_kill_at(ledger)) == (NEVER, NEVER)
        return Completed()

    run.perform(perform)


def test_a_job_that_is_not_declared_can_be_run_all_the_same(ledger, settings):
    settings.JOBS = {"job": {"tasks": []}}
    for name in ("job", "unknown"):
        assert ThreadRun(Job(name=name), ledger, 0).timeout_seconds is None


# In a pool


@pytest.fixture
def start_pool():
    """Start a pool; its `finished` are the jobs with their outcomes."""
    with contextlib.ExitStack() as stack:

        def start_pool(threads):
            finished = []
            pool = ThreadPool(
                threads=threads,
                perform=perform,
                finished=lambda *one: finished.append(one),
                ledger=Ledger(threads),
            )
            pool.finished = finished
            return stack.enter_context(pool)

        yield start_pool


@pytest.fixture
def pool(start_pool):
    return start_pool(threads=2)


def begun(pool, count=1):
    wait_until(
        lambda: sum(run._block._inside is not None for run in pool.runs) == count,
        f"{count} tasks had begun",
    )


@pytest.mark.django_db(transaction=True)
def test_a_task_is_ended_by_its_timeout_and_its_failure_hook_is_told(
    declare, claimed, settings, pool
):
    told = []
    declare(spin, failure_hook=lambda job, error: told.append(error))
    settings.JOBS = {"job": {**settings.JOBS["job"], "timeout": 0.1}}
    watch = Watch(lambda: pool.runs)
    pool.submit([claimed()])

    def is_finished():
        watch.look()
        return pool.finished

    wait_until(is_finished, "the job was finished")
    outcome = pool.finished[0][1]
    assert type(outcome) is Failed
    assert outcome.story.exception == "django_dbq.exceptions.JobTimeout"
    assert [type(error) for error in told] == [JobTimeout]


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_job_is_ended_and_its_neighbour_goes_on(declare, claimed, pool):
    over = threading.Event()
    declare(lambda job: spin(job) if job.workspace else over.wait(PATIENCE_SECONDS))
    cancelled, neighbour = claimed({"spin": True}), claimed()
    pool.submit([cancelled, neighbour])
    begun(pool, 2)
    watch = Watch(lambda: pool.runs)
    watch.cancel({cancelled.pk})
    watch.cancel({cancelled.pk})
    wait_until(lambda: pool.finished, "a job was finished")

    assert pool.finished[0][0] is cancelled
    assert isinstance(pool.finished[0][1], CalledOff)
    over.set()
    wait_until(lambda: len(pool.finished) == 2, "both were finished")
    assert isinstance(pool.finished[1][1], Completed)


@pytest.mark.django_db(transaction=True)
def test_a_thread_opens_a_new_connection_after_an_interruption(declare, claimed, start_pool):
    """It may have struck in the middle of a query, or of Django's own accounts of a transaction."""
    opened = []

    def use_connection(job):
        connection.ensure_connection()
        opened.append(connection.connection)
        if job.workspace:
            spin(job)

    declare(use_connection)
    pool = start_pool(threads=1)
    pool.submit([claimed({"spin": True})])
    wait_until(lambda: opened, "the task had a connection")
    pool.runs[0].interrupt(JobCancelled, grace_seconds=5)
    pool.submit([claimed(), claimed()])
    wait_until(lambda: len(pool.finished) == 3, "all jobs were finished")

    interrupted, following, last = opened
    assert interrupted is not following
    assert following is last
