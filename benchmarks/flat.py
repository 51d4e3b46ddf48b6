"""Whether the queue is as fast in its third year: with millions of rows around the ones that it
wants, and while somebody's old snapshot keeps the database from clearing up behind it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from django.db import connections

from benchmarks import table
from benchmarks.claim import multiply
from benchmarks.figures import Figure, Section, interleaved, ratio
from django_dbq import queue
from django_dbq.engines import Claim, engine_for
from django_dbq.models import Job
from django_dbq.rules.reach import Reach
from django_dbq.worker.executor import perform

BATCH = 500
JOBS = 20_000
JOBS_IN_A_SNAPSHOT = 100_000
QUICK_JOBS = 5_000

MINUTES = float(os.environ.get("DBQ_BENCH_MINUTES", "10"))
QUICK_MINUTES = 0.1
PACE = 2_000  # jobs a second
TICK = 0.05  # seconds

ALONE, CROWDED = "default", "crowded"

SNAPSHOT = {
    "postgresql": ["BEGIN ISOLATION LEVEL REPEATABLE READ"],
    "mysql": [
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    ],
    "sqlite": ["BEGIN"],
}


@dataclass(frozen=True)
class Crowd:
    """Thousands of rows that a drain of the queue "default" does not want."""

    waiting: int  # half of them in the same queue, at a lower priority
    future: int
    finished: int

    def __str__(self) -> str:
        return (
            f"{self.waiting * 1000:,} waiting rows that come later, {self.future * 1000:,} future "
            f"and {self.finished * 1000:,} finished ones"
        )


CROWD = {
    "postgresql": Crowd(2_000, 1_000, 10_000),
    "mysql": Crowd(200, 100, 1_000),
    "sqlite": Crowd(200, 100, 1_000),
}
QUICK_CROWD = Crowd(20, 10, 20)


@dataclass(frozen=True)
class Drained:
    """How fast it went, and what each claim took, in their order."""

    rate: float
    milliseconds: Sequence[float]

    @property
    def at_first(self) -> float:
        return median(self.milliseconds[: self._tenth])

    @property
    def at_last(self) -> float:
        return median(self.milliseconds[-self._tenth :])

    @property
    def _tenth(self) -> int:
        return max(1, len(self.milliseconds) // 10)


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    for alias in (ALONE, CROWDED):
        table.empty(alias)
    yield beside_a_crowd(runs, quick=quick)
    table.empty(CROWDED)
    yield in_an_old_snapshot(runs, quick=quick)
    yield in_an_old_snapshot_at_a_pace(QUICK_MINUTES if quick else MINUTES)
    table.empty(ALONE)


# Many rows


def beside_a_crowd(runs: int, *, quick: bool) -> Section:
    jobs = QUICK_JOBS if quick else JOBS
    crowd = QUICK_CROWD if quick else CROWD[connections[CROWDED].vendor]
    gather(CROWDED, crowd)
    table.analyze(CROWDED)
    found = interleaved(
        runs, {alias: lambda alias=alias: drain(alias, jobs) for alias in (ALONE, CROWDED)}
    )
    alone = rate("drain, alone in the table", found[ALONE])
    crowded = rate("drain, beside them", found[CROWDED])
    return Section(f"flat: {jobs:,} jobs beside {crowd}", [alone, compared(crowded, alone)])


def gather(alias: str, crowd: Crowd) -> None:
    now = engine_for(alias).now()
    week = timedelta(days=7)
    multiply(alias, crowd.finished, state="COMPLETE", created=now - week)
    multiply(alias, crowd.future, state="NEW", created=now - week, run_after=now + week)
    for where in ({"queue_name": "other"}, {"priority": -1}):
        multiply(alias, crowd.waiting // 2, state="NEW", created=now - week, **where)


# An old snapshot


def in_an_old_snapshot(runs: int, *, quick: bool) -> Section:
    jobs = QUICK_JOBS if quick else JOBS_IN_A_SNAPSHOT
    found = interleaved(
        runs, {"free": lambda: drain_anew(jobs), "held": lambda: drain_anew(jobs, held=True)}
    )
    free = rate("drain", found["free"])
    held = rate("drain, beside an old snapshot", found["held"])
    return Section(
        f"flat: {jobs:,} jobs at full speed while a transaction is open",
        [free, compared(held, free), *first_and_last(found["held"])],
    )


def in_an_old_snapshot_at_a_pace(minutes: float) -> Section:
    table.empty(ALONE)
    with old_snapshot(ALONE):
        drained = keep_pace(ALONE, minutes * 60)
    return Section(
        f"flat: {PACE:,} jobs/s for {minutes:g} minutes while a transaction is open",
        [rate("done", [drained]), *first_and_last([drained])],
    )


@contextmanager
def old_snapshot(alias: str) -> Iterator[None]:
    """Meanwhile a transaction is open that has read the table, and might read it again."""
    reader = connections[alias].copy()
    try:
        with reader.cursor() as cursor:
            for statement in SNAPSHOT[reader.vendor]:
                cursor.execute(statement)
            cursor.execute(f"SELECT COUNT(*) FROM {table.TABLE}")
            cursor.fetchall()
        yield
    finally:
        reader.close()


# Draining


def drain_anew(jobs: int, *, held: bool = False) -> Drained:
    table.empty(ALONE)
    if not held:
        return drain(ALONE, jobs)
    with old_snapshot(ALONE):
        return drain(ALONE, jobs)


def drain(alias: str, jobs: int) -> Drained:
    """Put no-op jobs in and work them off, in one thread; what else is in the table stays there."""
    queue.enqueue_many("noop", (None for _ in range(jobs)), using=alias)
    milliseconds, done, reach = [], 0, Reach()
    started = time.perf_counter()
    while done < jobs:
        claimed, took = work(alias, reach)
        milliseconds.append(took)
        done += claimed
    assert done == jobs, f"{done} jobs were claimed where there were {jobs}"
    return Drained(jobs / (time.perf_counter() - started), milliseconds)


def keep_pace(alias: str, seconds: float) -> Drained:
    """Enqueue `PACE` jobs a second, and work them off meanwhile, in the same thread."""
    milliseconds: list[float] = []
    reach = Reach()
    enqueued = done = 0
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        due = int(elapsed * PACE) - enqueued
        queue.enqueue_many("noop", (None for _ in range(due)), using=alias)
        enqueued += due
        claimed, took = work(alias, reach)
        milliseconds.append(took)
        done += claimed
        time.sleep(max(0.0, TICK - (time.perf_counter() - started - elapsed)))
    return Drained(done / elapsed, milliseconds)


def work(alias: str, reach: Reach) -> tuple[int, float]:
    """One batch, as a worker does it; how many jobs it had, and the milliseconds of its claim."""
    engine = engine_for(alias)
    now = engine.now()
    started = time.perf_counter()
    batch: list[Job] = engine.claim(
        Claim(["default"], limit=BATCH, worker_id=1, now=now, reach=reach)
    )
    took = (time.perf_counter() - started) * 1e3
    assert not engine.acknowledge([(job, perform(job)) for job in batch], now=now)
    return len(batch), took


# Figures


def rate(what: str, found: Sequence[Drained]) -> Figure:
    return Figure(what, [each.rate for each in found], "jobs/s")


def compared(figure: Figure, base: Figure) -> Figure:
    return Figure(figure.what, figure.values, figure.unit, f"{ratio(figure, base)} times that")


def first_and_last(found: Sequence[Drained]) -> list[Figure]:
    first = Figure("claim, in the first tenth", [each.at_first for each in found], "ms")
    last = Figure("claim, in the last tenth", [each.at_last for each in found], "ms")
    return [first, compared(last, first)]
