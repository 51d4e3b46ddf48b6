"""Threads that run claimed jobs in order."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from django_dbq.models import Job
from django_dbq.rules.outcomes import Completed
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.pools import ThreadPool
from tests.compat.waiting import wait_until

PATIENCE_SECONDS = 30


class Work:
    """What a pool is given to do; each job waits until it may go on."""

    def __init__(self):
        self.begun, self.finished, self.may_go_on = [], [], threading.Event()

    def perform(self, job, interruptible):
        self.begun.append(job)
        assert self.may_go_on.wait(PATIENCE_SECONDS)
        return Completed()

    def note_finished(self, job, outcome):
        self.finished.append((job, outcome))


@pytest.fixture
def work():
    work = Work()
    yield work
    work.may_go_on.set()


def pool_with(perform, finished, *, threads=1):
    return ThreadPool(threads=threads, perform=perform, finished=finished, ledger=Ledger(threads))


def pool_of(threads, work):
    return pool_with(work.perform, work.note_finished, threads=threads)


def jobs(count):
    return [Job(name=str(number)) for number in range(count)]


def test_every_submitted_job_is_run_once_in_order(work):
    given = jobs(20)
    work.may_go_on.set()
    with pool_of(1, work) as pool:
        pool.submit(given[:10])
        pool.submit(given[10:])

    assert work.begun == given
    assert [job for job, _ in work.finished] == given


def test_as_many_jobs_run_as_there_are_threads(work):
    given = jobs(5)
    with pool_of(2, work) as pool:
        pool.submit(given)
        wait_until(lambda: len(work.begun) == 2, "two jobs had begun")

        assert set(pool.running) == set(given[:2])
        assert pool.waiting == 3
        work.may_go_on.set()


def test_what_no_thread_has_begun_can_be_taken_back_and_never_begins(work):
    given = jobs(5)
    with pool_of(1, work) as pool:
        pool.submit(given)
        wait_until(lambda: work.begun, "a job had begun")

        assert pool.take_back() == given[1:]
        assert pool.waiting == 0
        assert pool.take_back() == []
        work.may_go_on.set()

    assert work.begun == given[:1]


def test_what_was_taken_back_can_be_submitted_again(work):
    given = jobs(3)
    with pool_of(1, work) as pool:
        pool.submit(given)
        wait_until(lambda: work.begun, "a job had begun")
        pool.submit(pool.take_back())
        work.may_go_on.set()

    assert work.begun == given


def test_every_job_is_begun_or_taken_back_and_none_is_both(work):
    given = jobs(500)
    taken = []
    work.may_go_on.set()
    with pool_of(3, work) as pool:
        pool.submit(given)
        while pool.waiting:
            taken += pool.take_back()

    assert len(taken) + len(work.begun) == len(given)
    assert {*map(id, taken), *map(id, work.begun)} == set(map(id, given))


def test_a_finished_job_is_handed_over_before_it_stops_counting_as_running():
    seen = []

    def finished(job, outcome):
        seen.append(job in pool.running)

    with pool_with(lambda job, interruptible: Completed(), finished) as pool:
        pool.submit(jobs(3))

    assert seen == [True] * 3
    assert pool.running == []


def test_the_pool_learns_how_long_jobs_take(work):
    work.may_go_on.set()
    with pool_of(1, work) as pool:
        assert pool.pace.mean_seconds is None
        pool.submit(jobs(3))
        wait_until(lambda: len(work.finished) == 3, "three jobs were finished")

    assert pool.pace.mean_seconds < PATIENCE_SECONDS


@pytest.mark.django_db(transaction=True)
def test_threads_close_their_connections_when_they_end():
    opened = []

    def perform(job, interruptible):
        Job.objects.exists()
        opened.append(connection.connection)
        connection.inc_thread_sharing()  # so that the test may look at it
        opened.append(connection._connections[connection._alias])
        return Completed()

    with pool_with(perform, lambda job, outcome: None) as pool:
        pool.submit(jobs(1))

    assert opened[1].connection is None


def test_a_thread_survives_a_job_that_cannot_even_be_run(work):
    """Were it to die, the worker would wait for the jobs that it had claimed for ever."""

    def perform(job, interruptible):
        if job.name == "0":
            raise SystemExit("a fault of ours")
        return Completed()

    given = jobs(2)
    with pool_with(perform, work.note_finished) as pool:
        pool.submit(given)

    assert [job for job, _ in work.finished] == given
    failed, completed = (outcome for _, outcome in work.finished)
    assert failed.story.message == "a fault of ours"
    assert isinstance(completed, Completed)


def test_a_thread_survives_a_job_whose_run_cannot_even_be_made(work, settings):
    settings.DBQ = {"MAX_CRASHES": "a few"}  # looked at for a job that has crashed
    crashed, other = given = jobs(2)
    crashed.crashes = 1
    work.may_go_on.set()
    with pool_of(1, work) as pool:
        pool.submit(given)

    assert [job for job, _ in work.finished] == given
    assert work.begun == [other]
    failed, completed = (outcome for _, outcome in work.finished)
    assert "MAX_CRASHES" in failed.story.message
    assert isinstance(completed, Completed)
    assert pool.running == []


def test_after_an_error_of_the_loop_no_waiting_job_is_run(work):
    """Nobody would write its outcome down."""
    running, *waiting = jobs(4)
    with pytest.raises(RuntimeError), pool_of(1, work) as pool:  # noqa: PT012 (its end is the act)
        pool.submit([running, *waiting])
        wait_until(lambda: work.begun == [running], "the first job was begun")
        threading.Timer(0.1, work.may_go_on.set).start()
        raise RuntimeError

    assert work.begun == [running]
