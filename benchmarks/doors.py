"""What Django's Tasks API costs, beside the jobs of `settings.JOBS`: enqueued, run, in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks import table
from benchmarks.drain import seconds_by_rows
from benchmarks.figures import Figure, Section, interleaved, ratio
from benchmarks.worker import WorkerTree, run_worker
from django_dbq.engines import engine_for
from django_dbq.models import Job

JOBS, MANY_JOBS = 20_000, 200_000
QUICK_JOBS, QUICK_MANY_JOBS = 2_000, 10_000
BLOCKS, ROWS_IN_A_BLOCK = 15, 100


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    jobs = QUICK_JOBS if quick else JOBS
    yield Section(
        f"doors: a worker drains {jobs:,} no-op jobs, {jobs:,} no-op Django tasks, in turn",
        drained(runs, jobs),
    )
    blocks = 3 if quick else BLOCKS * runs
    yield Section(
        f"doors: enqueue one by one, {blocks} blocks of {ROWS_IN_A_BLOCK} of each, in turn",
        enqueued(blocks),
    )
    many = QUICK_MANY_JOBS if quick else MANY_JOBS
    yield Section(f"doors: memory of a worker over {many:,} Django tasks", memory(many))


def drained(runs: int, jobs: int) -> list[Figure]:
    plans = {
        "jobs of settings.JOBS": lambda: rate_of(jobs, fill_with_jobs),
        "Django tasks": lambda: rate_of(jobs, fill_with_django_tasks),
    }
    found = interleaved(runs, plans)
    base, tasks = (Figure(what, values, "jobs/s") for what, values in found.items())
    note = f"{ratio(tasks, base)} times; at least 0.7 is wanted"
    return [base, Figure(tasks.what, tasks.values, tasks.unit, note)]


def rate_of(jobs: int, fill) -> float:  # type: ignore[no-untyped-def]
    fill(jobs)
    run_worker()
    table.require_all_complete(jobs)
    return jobs / seconds_by_rows()


def fill_with_jobs(jobs: int) -> None:
    table.fill(jobs, "noop")


def fill_with_django_tasks(jobs: int) -> None:
    from benchmarks.django_task import noop

    table.empty()
    template = Job(name=noop.module_path, backend="default")
    arguments = ({"args": [], "kwargs": {}} for _ in range(jobs))
    engine_for("default").insert_alike(template, arguments)


def enqueued(blocks: int) -> list[Figure]:
    from benchmarks.django_task import noop

    table.empty()
    plans = {
        "Job.objects.create": lambda: seconds_a_row(lambda: Job.objects.create(name="noop")),
        "task.enqueue": lambda: seconds_a_row(noop.enqueue),
    }
    found = interleaved(blocks, plans)
    base, tasks = (Figure(what, [s * 1e6 for s in values], "µs") for what, values in found.items())
    note = f"{ratio(tasks, base)} times; at most 1.3 is wanted"
    return [base, Figure(tasks.what, tasks.values, tasks.unit, note)]


def seconds_a_row(enqueue) -> float:  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    for _ in range(ROWS_IN_A_BLOCK):
        enqueue()
    return (time.perf_counter() - started) / ROWS_IN_A_BLOCK


def memory(jobs: int) -> list[Figure]:
    """Sampled: the highest in the first tenth of the time, and in the last."""
    fill_with_django_tasks(jobs)
    worker = WorkerTree()
    samples: list[float] = []

    def sample() -> None:
        sizes = [resident_mebibytes(pid) for pid in worker.children()]
        if sizes:
            samples.append(max(sizes))

    worker.wait(sample)
    table.require_all_complete(jobs)
    tenth = max(1, len(samples) // 10)
    early, late = max(samples[tenth : 2 * tenth]), max(samples[-tenth:])
    return [
        Figure("worker, RSS, in the second tenth of the time", [early], "MiB"),
        Figure("worker, RSS, in the last tenth", [late], "MiB", f"{late / early:.2f} times"),
    ]


def resident_mebibytes(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 2**20
