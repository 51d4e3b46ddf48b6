"""What it costs to serve every queue: to find them, to work them off, and to start a job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from statistics import median

from benchmarks import table
from benchmarks.claim import multiply
from benchmarks.drain import rate, seconds_by_rows
from benchmarks.figures import Figure, Section, interleaved, ratio
from benchmarks.latency import idle_worker, measured
from benchmarks.worker import run_worker
from django_dbq.engines import engine_for
from django_dbq.models import Job

THOUSANDS = 1_000  # of jobs that wait in one queue, and as many scheduled ones
QUICK_THOUSANDS = 20
OTHERS = 50  # queues with one job of each kind
QUESTIONS = 30

JOBS = 20_000
QUICK_JOBS = 2_000
# How many queues the jobs are spread over, and the worker's arguments.
DRAINS: dict[str, tuple[int, tuple[str, ...]]] = {
    "one queue, by its name": (1, ()),
    "one queue, by *": (1, ("*",)),
    "50 queues, by *": (50, ("*",)),
    "50 queues, by their names": (50, tuple(f"queue-{number}" for number in range(50))),
    "a queue for every tenth job, by *": (0, ("*",)),
}
LATENCIES = {"by its name": (), "by *": ("*",)}
LATENCY_JOBS = 100
PACE = 0.05


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    yield from finding(QUICK_THOUSANDS if quick else THOUSANDS)
    yield draining(QUICK_JOBS if quick else JOBS, runs)
    yield starting(LATENCY_JOBS // (10 if quick else 1), runs)


# To find them


def finding(thousands: int) -> Iterable[Section]:
    for alias in ("default", "crowded"):
        table.empty(alias)
        table.let_statistics_age(alias)
        fill_others(alias)
    now = engine_for("crowded").now()
    multiply("crowded", thousands, state="NEW", created=now)
    multiply("crowded", thousands, state="NEW", created=now, run_after=now + timedelta(days=7))
    for when in ("before ANALYZE", "after ANALYZE"):
        if when == "after ANALYZE":
            for alias in ("default", "crowded"):
                table.analyze(alias)
        yield Section(
            f"every queue, {when}: to find {OTHERS} queues of a job each alone, and beside one of "
            f"{thousands * 1000:,} that wait and as many that are scheduled",
            [
                *asked("those with jobs that wait", lambda engine: engine.heads(now=engine.now())),
                *asked("those with scheduled jobs", lambda engine: engine.soonest()),
            ],
        )
    table.empty("crowded")


def fill_others(alias: str) -> None:
    now = engine_for(alias).now()
    for run_after in (None, now + timedelta(days=1)):
        Job.objects.using(alias).bulk_create(
            Job(name="noop", queue_name=f"queue-{number}", run_after=run_after)
            for number in range(OTHERS)
        )


def asked(what: str, ask: Callable[..., object]) -> list[Figure]:
    times: dict[str, list[float]] = {"default": [], "crowded": []}
    for _ in range(QUESTIONS):
        for alias, seconds in times.items():
            engine = engine_for(alias)
            began_at = time.perf_counter()
            ask(engine)
            seconds.append((time.perf_counter() - began_at) * 1e3)
    alone, crowded = (
        Figure(f"{what}, {words}", times[alias], "ms")
        for alias, words in (("default", "alone"), ("crowded", "crowded"))
    )
    note = f"{ratio(crowded, alone)} times as long"
    return [alone, Figure(crowded.what, crowded.values, "ms", note)]


# To work them off


def draining(jobs: int, runs: int) -> Section:
    plans = {
        what: lambda queues=queues, arguments=arguments: drained(
            jobs, queues or jobs // 10, arguments
        )
        for what, (queues, arguments) in DRAINS.items()
    }
    found = interleaved(runs, plans)
    named = rate("one queue, by its name", jobs, found.pop("one queue, by its name"))
    others = [rate(what, jobs, seconds) for what, seconds in found.items()]
    noted = [
        Figure(each.what, each.values, each.unit, f"{ratio(each, named)} times that by its name")
        for each in others
    ]
    return Section(f"every queue: {jobs:,} no-op jobs worked off", [named, *noted])


def drained(jobs: int, queues: int, arguments: tuple[str, ...]) -> float:
    table.empty()
    names = [f"queue-{number}" for number in range(queues)] if queues > 1 else ["default"]
    templates = [Job(name="noop", queue_name=name) for name in names]
    rows = ((templates[number % queues], None) for number in range(jobs))
    engine_for("default").insert_each(rows)
    run_worker(*arguments)
    table.require_all_complete(jobs)
    return seconds_by_rows()


# To start


def starting(jobs: int, runs: int) -> Section:
    table.empty()
    plans = {
        what: lambda arguments=arguments: started(jobs, arguments)
        for what, arguments in LATENCIES.items()
    }
    found = interleaved(runs, plans)
    return Section(
        f"every queue: an idle worker, from the call of create() to the task's first line, a job "
        f"every {PACE:g} s",
        [
            Figure(f"{what}: median", values, "ms", f"{jobs} jobs a run")
            for what, values in found.items()
        ],
    )


def started(jobs: int, arguments: tuple[str, ...]) -> float:
    with idle_worker(*arguments):
        return median(measured(PACE)[0] for _ in range(jobs)) * 1e3
