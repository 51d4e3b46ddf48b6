"""Where the Python of a job goes: the worker's verbs in a straight line, under Python's profiler.

The profiler slows calls down, small ones most of all: its shares tell what to look at, not what it
costs. That is what the processor's time says, which is measured without it.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks import table
from benchmarks.figures import Figure, Section, interleaved
from django_dbq.engines import Claim, engine_for
from django_dbq.worker.executor import perform

JOBS, QUICK_JOBS = 20_000, 1_000
BATCH = 500
TOP = 20  # functions


@dataclass(frozen=True)
class Microseconds:
    """Of processor time of this process, for each job."""

    claim: float
    perform: float
    acknowledge: float


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    jobs = QUICK_JOBS if quick else JOBS
    times = interleaved(runs, {"line": lambda: straight_line(jobs)})["line"]
    yield Section(
        f"processor time of Python for each of {jobs:,} no-op jobs, batches of {BATCH}",
        [
            Figure(verb, [getattr(each, verb) for each in times], "µs")
            for verb in ("claim", "perform", "acknowledge")
        ],
    )
    profiler = cProfile.Profile()
    straight_line(jobs, profiler)
    yield Section(
        f"the {TOP} functions with the largest share of it, profiled; the server is waited for",
        [Figure(*each, "%") for each in largest_shares(pstats.Stats(profiler))],
    )


def straight_line(jobs: int, profiler: cProfile.Profile | None = None) -> Microseconds:
    table.fill(jobs, "noop")
    engine = engine_for("default")
    claiming = performing = acknowledging = 0.0
    now = engine.now()
    with profiler or nullcontext():
        for _ in range(jobs // BATCH):
            started = time.process_time()
            claimed = engine.claim(Claim(["default"], limit=BATCH, worker_id=1, now=now))
            is_claimed = time.process_time()
            outcomes = [(job, perform(job)) for job in claimed]
            is_performed = time.process_time()
            engine.acknowledge(outcomes, now=now)
            claiming += is_claimed - started
            performing += is_performed - is_claimed
            acknowledging += time.process_time() - is_performed
    table.require_all_complete(jobs)
    return Microseconds(*(each / jobs * 1e6 for each in (claiming, performing, acknowledging)))


def largest_shares(stats: pstats.Stats) -> list[tuple[str, list[float]]]:
    """The functions by their own time, without those that they call: a name, and its per cents."""
    own_seconds = {
        f"{Path(file).name}:{name}" if line else name: own
        for (file, line, name), (_, _, own, _, _) in stats.stats.items()  # type: ignore[attr-defined]
    }
    total = sum(own_seconds.values())
    largest = sorted(own_seconds.items(), key=lambda each: -each[1])[:TOP]
    return [(name, [100 * own / total]) for name, own in largest]
