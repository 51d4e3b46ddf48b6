"""What a worker needs: memory of its processes, and processor time for a job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from benchmarks import table
from benchmarks.figures import Figure, Section, interleaved
from benchmarks.worker import WorkerTree, run_worker

JOBS = 20_000
QUICK_JOBS = 2_000

NOTES = {
    "worker, RSS": "at most 60 is wanted",
    "together, PSS": "what both need: pages that they share are counted once",
}


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    jobs = QUICK_JOBS if quick else JOBS
    plans = {"idle": cpu_seconds_of_nothing, "busy": lambda: cpu_seconds_of(jobs)}
    found = interleaved(runs, plans)
    idle = Figure("CPU of a worker that finds nothing: start and end", found["idle"], "s")
    yield Section(
        f"processor time: {jobs:,} no-op jobs; supervisor and worker, without the server",
        [
            Figure(
                "CPU for 1,000 jobs, less start and end",
                [(each - idle.median) * 1_000 / jobs for each in found["busy"]],
                "s",
                "at most 0.08 is wanted",
            ),
            idle,
        ],
    )
    yield Section(f"memory: the most of each while {jobs:,} no-op jobs run", memory(jobs))


def cpu_seconds_of_nothing() -> float:
    table.empty()
    return run_worker().cpu_seconds


def cpu_seconds_of(jobs: int) -> float:
    table.fill(jobs, "noop")
    used = run_worker()
    table.require_all_complete(jobs)
    return used.cpu_seconds


def memory(jobs: int) -> list[Figure]:
    """Sampled, which slows the worker down: not in the runs that are timed."""
    table.fill(jobs, "noop")
    worker = WorkerTree()
    most: dict[str, float] = {}

    def sample() -> None:
        now: defaultdict[str, float] = defaultdict(float)
        for role, pids in (("supervisor", [worker.pid]), ("worker", worker.children())):
            for pid in pids:
                for kind, mebibytes in memory_of(pid).items():
                    now[f"{role}, {kind}"] += mebibytes
                    now[f"together, {kind}"] += mebibytes
        for what, mebibytes in now.items():
            most[what] = max(most.get(what, 0.0), mebibytes)

    worker.wait(meanwhile=sample)
    return [
        Figure(what, [mebibytes], "MiB", NOTES.get(what, ""))
        for what, mebibytes in sorted(most.items())
        if what != "together, RSS"  # which would count shared pages twice
    ]


def memory_of(pid: int) -> dict[str, float]:
    """RSS and PSS in MiB; PSS shares what several processes share. Linux tells, others do not."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines]
    return {
        line[0].rstrip(":").upper(): int(line[1]) / 1024
        for line in words
        if line[0] in ("Rss:", "Pss:")
    }
