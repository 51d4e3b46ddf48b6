"""What workers notice of it when another process deletes a million finished jobs beside them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from multiprocessing.synchronize import Event
from statistics import quantiles

from django.db import connections

from benchmarks import table
from benchmarks.claim import multiply
from benchmarks.figures import Figure, Section, interleaved, ratio
from django_dbq import queue
from django_dbq.engines import Claim, engine_for
from django_dbq.maintenance.pruner import Pruner
from django_dbq.models import Job
from django_dbq.rules.identifiers import first_id_of
from django_dbq.rules.outcomes import SUCCESS
from django_dbq.settings import Retention

ALIAS = "crowded"
THOUSANDS = 1_000  # of finished rows
QUICK_THOUSANDS = 20
SECONDS = 12.0  # of a run
QUICK_SECONDS = 2.0
REFILL = 2_000
TURNS = [1] * 20 + [100]  # the sizes of claims

DAY = timedelta(days=1)
RETENTION = Retention({"COMPLETE": DAY, "FAILED": None, "CANCELLED": None})
ALL_STAY = Retention({"COMPLETE": 30 * DAY, "FAILED": timedelta(0), "CANCELLED": None})

# Ids as they are made: in order. Random ones lie all over the table, and take longer.
ORDERED_ID = {
    "postgresql": "('{first}' || lpad(to_hex(b.number * 1000 + a.number), 12, '0'))::uuid",
    "mysql": "CONCAT('{first}', LPAD(LOWER(HEX(b.number * 1000 + a.number)), 12, '0'))",
    "sqlite": "'{first}' || printf('%%012x', b.number * 1000 + a.number)",
}


@dataclass(frozen=True)
class Found:
    """The 99th percentiles of what claims took, and how many rows a second were deleted."""

    of_one: float
    of_hundred: float
    deleted: float


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    thousands = QUICK_THOUSANDS if quick else THOUSANDS
    seconds = QUICK_SECONDS if quick else SECONDS
    table.empty(ALIAS)
    put_in_finished(thousands)
    table.analyze(ALIAS)
    with pruner() as may_prune:
        plans = {
            "quiet": lambda: claims(seconds),
            "pruned": lambda: claims(seconds, may_prune),
        }
        found = interleaved(runs, plans)
    deleted = Figure("deleted beside it", [each.deleted for each in found["pruned"]], "rows/s")
    yield Section(
        f"retention: p99 of a claim while {thousands * 1000:,} finished rows are pruned",
        [*beside(found, "of_one", "1"), *beside(found, "of_hundred", "100"), deleted],
    )
    left = Job.objects.using(ALIAS).count()
    passed = Figure("without its pauses", [sweep(ALL_STAY) for _ in range(runs)], "s")
    yield Section(f"retention: a sweep that passes {left:,} rows, which all stay", [passed])
    table.empty(ALIAS)


def beside(found: dict[str, list[Found]], which: str, jobs: str) -> list[Figure]:
    quiet, pruned = (
        Figure(
            f"claim of {jobs}, p99, {words}", [getattr(each, which) for each in found[key]], "ms"
        )
        for key, words in (("quiet", "nothing is pruned"), ("pruned", "beside the pruner"))
    )
    note = f"{ratio(pruned, quiet)} times the other"
    return [quiet, Figure(pruned.what, pruned.values, pruned.unit, note)]


def claims(seconds: float, may_prune: Event | None = None) -> Found:
    """Claim and acknowledge for so long; now one job, now a hundred."""
    engine = engine_for(ALIAS)
    worker = engine.register(hostname="h", pid=1, queues=[], threads=1, now=engine.now()).pk
    times: dict[int, list[float]] = {1: [], 100: []}
    before = finished_rows()
    if may_prune:
        may_prune.set()
    deadline, done, ready = time.perf_counter() + seconds, 0, 0
    for limit in cycle(TURNS):
        if time.perf_counter() > deadline:
            break
        if ready < 200:
            queue.enqueue_many("noop", [{}] * REFILL, using=ALIAS)
            ready += REFILL
        now = engine.now()
        started = time.perf_counter()
        claimed = engine.claim(Claim(["default"], limit=limit, worker_id=worker, now=now))
        times[limit].append((time.perf_counter() - started) * 1e3)
        assert len(claimed) == limit
        engine.acknowledge([(job, SUCCESS) for job in claimed], now=now)
        done, ready = done + limit, ready - limit
    if may_prune:
        may_prune.clear()
    deleted = before + done - finished_rows()
    return Found(*(quantiles(times[limit], n=100)[98] for limit in (1, 100)), deleted / seconds)


def finished_rows() -> int:
    return Job.objects.using(ALIAS).filter(state="COMPLETE").count()


@contextmanager
def pruner() -> Iterator[Event]:
    """A process that prunes, as a worker's housekeeper does, as long as the event is set."""
    connections.close_all()
    may_prune = multiprocessing.get_context("fork").Event()
    process = multiprocessing.get_context("fork").Process(target=prune, args=[may_prune])
    process.start()
    try:
        yield may_prune
    finally:
        process.kill()
        process.join()


def prune(may_prune: Event) -> None:
    while may_prune.wait():
        pruner = Pruner(engine_for(ALIAS), RETENTION, has_duty=lambda: True)
        while may_prune.is_set():
            time.sleep(pruner.turn())


def sweep(retention: Retention) -> float:
    engine = engine_for(ALIAS)
    walk, size = engine.sweep(retention, now=engine.now()), 100
    started = time.perf_counter()
    while not walk.is_done:
        page_started = time.perf_counter()
        assert walk.delete_next(size) == 0
        size = engine.prune_pace.next_size(size, time.perf_counter() - page_started)
    return time.perf_counter() - started


def put_in_finished(thousands: int) -> None:
    last_week = engine_for(ALIAS).now() - 7 * DAY
    first = first_id_of(last_week).hex[:20]
    new_id = ORDERED_ID[connections[ALIAS].vendor].format(first=first)
    multiply(ALIAS, thousands, new_id, state="COMPLETE", created=last_week, finished_at=last_week)
