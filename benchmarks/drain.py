"""How fast a backlog is worked off, by a real `manage.py worker` and by less than that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Min

from benchmarks import table
from benchmarks.figures import Figure, Section, interleaved
from benchmarks.limit import BATCH, seconds_at_the_limit
from benchmarks.worker import run_worker
from django_dbq.engines import Claim, engine_for
from django_dbq.models import Job
from django_dbq.worker.executor import perform

JOBS = 20_000
QUICK_JOBS = 2_000


@dataclass(frozen=True)
class Drained:
    """How long it took: by the rows, and by the clock on the wall."""

    by_rows: float
    by_wall: float


@dataclass(frozen=True)
class Workload:
    what: str
    job_name: str
    arguments: tuple[str, ...] = ()
    tasks: int = 1


WORKERS = (
    Workload("no-op jobs", "noop"),
    Workload("no-op jobs, --processes 2", "noop", ("--processes", "2")),
    Workload("no-op jobs, --threads 4", "noop", ("--threads", "4")),
    Workload("jobs that change their workspace", "changes_workspace"),
    Workload("jobs of three tasks", "three_tasks", tasks=3),
)


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    jobs = QUICK_JOBS if quick else JOBS
    plans: dict[str, Callable[[], Drained]] = {
        load.what: lambda load=load: drained(load, jobs) for load in WORKERS
    }
    plans["nothing"] = start_and_stop
    plans["straight line"] = lambda: same_clock(straight_line(jobs))
    plans["limit"] = lambda: same_clock(seconds_at_the_limit(jobs))
    found = interleaved(runs, plans)

    start_ups = [each.by_wall for each in found.pop("nothing")]
    start_up = Figure("a worker that finds nothing: start and end", start_ups, "s", "wall clock")
    limit = rate("the limit: its statements alone", jobs, [d.by_rows for d in found.pop("limit")])
    straight = rate(
        "straight line: claim, perform, acknowledge, one thread",
        jobs,
        [each.by_rows for each in found.pop("straight line")],
    )
    figures = [
        noted(figure, load, limit)
        for load in WORKERS
        for figure in (
            rate(f"worker: {load.what}", jobs, [each.by_rows for each in found[load.what]]),
            rate(
                "  the same, wall clock less start-up",
                jobs,
                [each.by_wall - start_up.median for each in found[load.what]],
            ),
        )
    ]
    note = f"{jobs:,} jobs a run; batches of {BATCH} in the straight line and at the limit"
    yield Section("drain: " + note, [*figures, against(straight, limit), limit, start_up])


def drained(load: Workload, jobs: int) -> Drained:
    table.fill(jobs, load.job_name)
    used = run_worker(*load.arguments)
    table.require_all_complete(jobs)
    return Drained(seconds_by_rows(), used.seconds)


def seconds_by_rows(name: str | None = None) -> float:
    """From the first claim to the last acknowledgement.

    `finished_at` is taken before its statement is sent, so the last commit is not in here. The
    wall clock has it.
    """
    jobs = Job.objects.filter(name=name) if name else Job.objects.all()
    ends: dict[str, datetime] = jobs.order_by().aggregate(
        first=Min("started_at"), last=Max("finished_at")
    )
    return (ends["last"] - ends["first"]).total_seconds()


def start_and_stop() -> Drained:
    table.empty()
    used = run_worker()
    return Drained(used.seconds, used.seconds)


def straight_line(jobs: int) -> float:
    """What the loop, the threads and their hand-overs cost is what this one has not."""
    table.fill(jobs, "noop")
    engine = engine_for("default")
    started = time.monotonic()
    while batch := engine.claim(Claim(["default"], limit=BATCH, worker_id=1, now=engine.now())):
        engine.acknowledge([(job, perform(job)) for job in batch], now=engine.now())
    seconds = time.monotonic() - started
    table.require_all_complete(jobs)
    return seconds


def same_clock(seconds: float) -> Drained:
    return Drained(seconds, seconds)


def rate(what: str, jobs: int, seconds: Iterable[float]) -> Figure:
    return Figure(what, [jobs / each for each in seconds], "jobs/s")


def noted(figure: Figure, load: Workload, limit: Figure) -> Figure:
    """The limit is one of no-op jobs, so that only these have a share of it."""
    if load.job_name == "noop":
        return against(figure, limit)
    note = f"{figure.median * load.tasks:,.0f} tasks/s" if load.tasks > 1 else ""
    return Figure(figure.what, figure.values, figure.unit, note)


def against(figure: Figure, limit: Figure) -> Figure:
    share = f"{figure.median / limit.median:.0%} of the limit"
    return Figure(figure.what, figure.values, figure.unit, share)
