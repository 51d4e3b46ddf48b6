"""What the worker's two statements cost for each job, by the number of jobs that share them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import table
from benchmarks.figures import Figure, Section, interleaved
from django_dbq.engines import Claim, engine_for
from django_dbq.rules.outcomes import SUCCESS

JOBS_BY_BATCH = {1: 300, 100: 5_000, 500: 20_000}
QUICK = 10  # times fewer of them


@dataclass(frozen=True)
class Microseconds:
    claim: float
    acknowledge: float


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    jobs_by_batch = {
        batch: max(jobs // QUICK, batch) if quick else jobs for batch, jobs in JOBS_BY_BATCH.items()
    }
    plans = {
        str(batch): lambda batch=batch, jobs=jobs: for_each_job(batch, jobs)
        for batch, jobs in jobs_by_batch.items()
    }
    found = interleaved(runs, plans)
    yield Section(
        "claim and acknowledge: for each no-op job, one client, each statement with its commit",
        [
            Figure(f"{verb}, batches of {batch}", [getattr(each, verb) for each in times], "µs")
            for verb in ("claim", "acknowledge")
            for batch, times in found.items()
        ],
    )


def for_each_job(batch: int, jobs: int) -> Microseconds:
    table.fill(jobs, "noop")
    engine = engine_for("default")
    claiming = acknowledging = 0.0
    for _ in range(jobs // batch):
        now = engine.now()
        started = time.perf_counter()
        claimed = engine.claim(Claim(["default"], limit=batch, worker_id=1, now=now))
        half_time = time.perf_counter()
        assert not engine.acknowledge([(job, SUCCESS) for job in claimed], now=now)
        acknowledging += time.perf_counter() - half_time
        claiming += half_time - started
    table.require_all_complete(jobs)
    return Microseconds(claiming / jobs * 1e6, acknowledging / jobs * 1e6)
