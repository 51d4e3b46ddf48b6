"""How fast async tasks that wait are worked off, many at a time, by a real `manage.py worker`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks import table
from benchmarks.drain import Drained, Workload, rate, seconds_by_rows, start_and_stop
from benchmarks.figures import Figure, Section, interleaved
from benchmarks.worker import run_worker
from django_dbq.models import Job
from django_dbq.rules.worlds import WORLDS

JOBS = 5_000
QUICK_JOBS = 1_000
AT_ONCE = 500
WAIT_SECONDS = 0.1  # of benchmarks.tasks.wait

SLOTS = ("--async-concurrency", str(AT_ONCE))
WORKERS = [
    Workload("async tasks of settings.JOBS", "waits", SLOTS),
    Workload("async tasks that do not wait", "waits_for_nothing", SLOTS),
]
if WORLDS:
    WORKERS.insert(0, Workload("async Django tasks", "benchmarks.django_tasks.wait", SLOTS))


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    jobs = QUICK_JOBS if quick else JOBS
    plans: dict[str, Callable[[], Drained]] = {
        load.what: lambda load=load: drained(load, jobs) for load in WORKERS
    }
    plans["nothing"] = start_and_stop
    found = interleaved(runs, plans)
    start_up = found.pop("nothing")
    start = Figure(
        "a worker that finds nothing: start and end",
        [each.by_wall for each in start_up],
        "s",
        "wall clock",
    )
    figures = [
        figure
        for load in WORKERS
        for figure in (
            rate(load.what, jobs, [each.by_rows for each in found[load.what]]),
            Figure("  from the first claim", [each.by_rows for each in found[load.what]], "s"),
            Figure(
                "  wall clock less start-up",
                [each.by_wall - start.median for each in found[load.what]],
                "s",
            ),
        )
    ]
    note = (
        f"{jobs:,} jobs a run in one process, {AT_ONCE} at a time; each waits {WAIT_SECONDS} s, so "
        f"that nobody can take less than {jobs / AT_ONCE * WAIT_SECONDS:g} s"
    )
    yield Section("asynchronous: " + note, [*figures, start])


def drained(load: Workload, jobs: int) -> Drained:
    if "." in load.job_name:
        fill_with_django_tasks(jobs, load.job_name)
    else:
        table.fill(jobs, load.job_name)
    used = run_worker(*load.arguments)
    table.require_all_complete(jobs)
    return Drained(seconds_by_rows(), used.seconds)


def fill_with_django_tasks(jobs: int, path: str) -> None:
    table.empty()
    call = {"args": [], "kwargs": {}}
    Job.objects.bulk_create(
        [Job(name=path, backend="default", workspace=call) for _ in range(jobs)], batch_size=500
    )
