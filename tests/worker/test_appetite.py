"""How many jobs a worker takes now: what it was asked for, and what its pool can start."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_dbq import clock
from django_dbq.models import Job
from django_dbq.worker.appetite import Appetite
from django_dbq.worker.dispatcher import Dispatcher
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.registration import Lease
from django_dbq.worker.runs import ThreadRun


@pytest.fixture
def appetite(engine):
    def appetite(*, threads=1, lease_seconds=60, mean_seconds=None, **options):
        options = WorkerOptions(threads=threads, **{"rate_limit_seconds": 0, **options})
        finished = pytest.fail  # nothing runs here
        pool = Dispatcher(options, finished=finished, ledger=Ledger(options.slots))
        pool.pace.mean_seconds = mean_seconds
        return Appetite(options, engine, pool, lease=Lease(timedelta(seconds=lease_seconds)))

    return appetite


def test_as_long_as_nothing_is_known_a_worker_takes_a_job_for_each_thread(appetite):
    assert appetite(threads=3).wanted(0, finished=0) == 3
    assert appetite(threads=3).wanted(2, finished=0) == 1
    assert appetite(threads=3).wanted(3, finished=0) == 0


def test_a_worker_for_a_number_of_jobs_takes_no_more(appetite):
    two = appetite(threads=3, max_jobs=2)

    assert two.wanted(0, finished=0) == 2
    assert two.wanted(0, finished=1) == 1
    assert two.wanted(1, finished=1) == 0
    assert [two.is_over(0, finished=0), two.is_over(1, finished=1)] == [False, True]
    assert not appetite().is_over(1_000, finished=10**9)


def test_between_two_jobs_lies_the_rate_limit(appetite):
    seldom = appetite(rate_limit_seconds=60)
    assert seldom.wanted(0, finished=0) == 1
    assert seldom.wanted(1, finished=0) == 0

    seldom.job_ended()
    assert seldom.wanted(0, finished=1) == 0
    assert 50 < seldom.too_soon_seconds <= 60


def test_without_a_rate_limit_it_is_never_too_soon(appetite):
    hungry = appetite()
    hungry.job_ended()

    assert hungry.too_soon_seconds == 0
    assert hungry.wanted(0, finished=1) == 1


def test_a_worker_that_may_count_as_dead_takes_nothing(appetite):
    assert appetite(lease_seconds=0).wanted(0, finished=0) == 0


COUNTING_SECONDS = 0.060


class Counts:
    """Ten jobs wait, and to count them takes long, by a clock that a test moves on."""

    def __init__(self):
        self.number, self.time = 0, 1_000.0

    def count_ready(self, queues, *, at_most, now):
        self.number += 1
        self.time += COUNTING_SECONDS
        return min(at_most, 10)


@pytest.fixture
def counts(engine, monkeypatch):
    """What a worker asks that has one peer."""
    counts = Counts()
    monkeypatch.setattr(clock, "monotonic", lambda: counts.time)
    monkeypatch.setattr(engine, "queues_of_workers", lambda **_: [["default"]] * 2)
    monkeypatch.setattr(engine, "count_ready", counts.count_ready)
    return counts


def test_what_waits_is_counted_for_a_share_of_the_time(appetite, counts):
    shared = appetite(mean_seconds=0.002)
    limits = []
    for _ in range(100):
        limits.append(shared.limit(0, finished=0, now=timezone.now()))
        counts.time += 0.050

    assert set(limits) == {5}
    assert 1 < counts.number <= 5  # of 60 ms each, in 5 seconds


def test_where_there_is_enough_for_all_it_was_not_counted_how_much_more(appetite, counts):
    growing = appetite(mean_seconds=0.025)  # wants 4, for which 8 are enough

    assert growing.limit(0, finished=0, now=timezone.now()) == 4
    growing._pool.pace.mean_seconds = 0.002
    assert growing.limit(0, finished=0, now=timezone.now()) == 50


@pytest.mark.parametrize(
    ("mine", "others", "share"),
    [("mail", "*", 5), ("*", "mail", 5), ("*", "*", 5), ("mail", "reports", 50)],
)
def test_a_worker_of_every_queue_shares_with_all_and_all_with_it(
    appetite, counts, engine, monkeypatch, mine, others, share
):
    monkeypatch.setattr(engine, "queues_of_workers", lambda **_: [[mine], [others]])
    shared = appetite(mean_seconds=0.002, queues=(mine,))

    assert shared.limit(0, finished=0, now=timezone.now()) == share


def test_a_worker_takes_async_jobs_for_every_free_slot(appetite):
    hungry = appetite(async_concurrency=40)
    hungry._pool.async_share.note(is_async=1, of=1)

    assert hungry.wanted(0, finished=0) == 40
    assert hungry.has_room(40)


def test_a_worker_takes_as_many_jobs_of_both_kinds_as_can_start(appetite):
    hungry = appetite(threads=2, async_concurrency=40)
    hungry._pool.async_share.note(is_async=3, of=4)

    assert hungry.wanted(0, finished=0) == 8


def test_with_a_rate_limit_async_jobs_are_taken_one_by_one(appetite):
    seldom = appetite(rate_limit_seconds=60)
    seldom._pool.async_share.note(is_async=1, of=1)

    assert seldom.wanted(0, finished=0) == 1
    assert seldom.wanted(1, finished=0) == 0


def test_a_worker_for_a_number_of_async_jobs_takes_no_more(appetite):
    seven = appetite(max_jobs=7)
    seven._pool.async_share.note(is_async=1, of=1)

    assert seven.wanted(0, finished=0) == 7
    assert seven.wanted(3, finished=2) == 2


def test_where_one_kind_has_no_room_it_looks_for_the_other_but_not_when_that_was_in_vain(appetite):
    hungry = appetite(threads=1, async_concurrency=40)
    hungry._pool.async_share.note(is_async=1, of=2)
    hungry._pool._threads._runs[0] = ThreadRun(Job(name="noop"), Ledger(1), 0)

    assert hungry.wanted(1, finished=0) == 40
    hungry._pool.overdue_at = clock.monotonic()
    assert hungry.wanted(1, finished=0) == 0
