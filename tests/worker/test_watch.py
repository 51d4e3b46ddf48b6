"""When which run is made to end, and by what."""

from __future__ import annotations

import pytest

from django_dbq import clock
from django_dbq.exceptions import JobCancelled, JobInterrupted, JobTimeout
from django_dbq.models import Job
from django_dbq.worker.ledger import NEVER
from django_dbq.worker.runs import Run
from django_dbq.worker.watch import LAST_GRACE_SECONDS, Watch


class NotedRun(Run):
    """Notes what is done to it."""

    def __init__(self, *, timeout_at=NEVER, kill_at=NEVER, grace=5.0):
        super().__init__(Job(name="noop"))
        self.timeout_at, self.kill_at, self.grace_seconds = timeout_at, kill_at, grace
        self.done = []

    def interrupt(self, why, *, grace_seconds):
        self.timeout_at = NEVER
        self.done.append((why, grace_seconds))

    def kill(self):
        self.kill_at = NEVER
        self.done.append("killed")


def watch_of(*runs):
    return Watch(lambda: runs)


def test_a_timeout_is_raised_when_it_is_due_and_once():
    run = NotedRun(timeout_at=100.0, grace=7.0)
    watch = watch_of(run)

    watch.look(99.9)
    assert run.done == []
    watch.look(100.0)
    watch.look(101.0)
    assert run.done == [(JobTimeout, 7.0)]


def test_a_process_is_killed_when_that_is_due_and_once():
    run = NotedRun(kill_at=100.0)
    watch = watch_of(run)

    watch.look(99.9)
    assert run.done == []
    watch.look(100.0)
    watch.look(101.0)
    assert run.done == ["killed"]


def test_a_task_gets_its_grace_even_when_the_watch_comes_late():
    run = NotedRun(timeout_at=100.0, kill_at=105.0)
    watch_of(run).look(1_000.0)

    assert run.done == [(JobTimeout, 5.0)]


def test_only_the_run_that_is_due_is_ended():
    due, other = NotedRun(timeout_at=100.0), NotedRun(timeout_at=200.0)
    watch_of(due, other).look(150.0)

    assert due.done
    assert not other.done


def test_cancelled_jobs_are_interrupted_and_others_are_not():
    cancelled, other = NotedRun(grace=7.0), NotedRun()
    watch_of(cancelled, other).cancel({cancelled.job.pk})

    assert cancelled.done == [(JobCancelled, 7.0)]
    assert other.done == []


@pytest.mark.parametrize(("grace", "last_grace"), [(0.5, 0.5), (60.0, LAST_GRACE_SECONDS)])
def test_a_worker_that_must_go_interrupts_all_and_waits_for_none_of_them_long(grace, last_grace):
    runs = [NotedRun(grace=grace), NotedRun(grace=grace)]
    watch_of(*runs).interrupt_all()

    assert [run.done for run in runs] == [[(JobInterrupted, last_grace)]] * 2


def test_the_watch_says_when_to_look_again():
    now = clock.monotonic()

    assert watch_of().seconds_to_next(now) == NEVER
    assert watch_of(NotedRun()).seconds_to_next(now) == NEVER
    runs = [NotedRun(timeout_at=now + 9), NotedRun(kill_at=now + 3), NotedRun()]
    assert watch_of(*runs).seconds_to_next(now) == pytest.approx(3)
    assert watch_of(*runs).seconds_to_next(now + 60) == 0
