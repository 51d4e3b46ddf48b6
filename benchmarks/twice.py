"""Whether two workers ever run a job twice, or leave one out; and how fast they are meanwhile."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable

from django.conf import settings

from benchmarks import table
from benchmarks.drain import rate, seconds_by_rows
from benchmarks.figures import Figure, Section
from benchmarks.worker import WorkerTree
from django_dbq import queue
from django_dbq.models import Job

WORKERS = 2
JOBS = 10_000
QUICK_JOBS = 1_000


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    """Each job signs in a file. No word of the database's is taken for it."""
    jobs = QUICK_JOBS if quick else JOBS
    signatures = settings.DIRECTORY / "signatures"
    signatures.unlink(missing_ok=True)
    table.fill(jobs, "signs", {"file": str(signatures)})
    enqueue_meeting()
    workers = [WorkerTree() for _ in range(WORKERS)]
    for worker in workers:
        worker.wait()
    table.require_all_complete(jobs + WORKERS)

    lines = [line.split() for line in signatures.read_text().splitlines()]
    times = Counter(job for job, _ in lines)
    signed = Job.objects.filter(name="signs").values_list("pk", flat=True)
    never = len({str(pk) for pk in signed} - times.keys())
    more_than_once = sum(count > 1 for count in times.values())
    shares = sorted(Counter(process for _, process in lines).values())
    yield Section(
        f"{WORKERS} workers, {jobs:,} jobs that sign in a file",
        [
            Figure("jobs that ran more than once", [more_than_once], "", "must be 0"),
            Figure("jobs that never ran", [never], "", "must be 0"),
            Figure("jobs of the less busy worker", [shares[0]], ""),
            rate("all together", jobs, [seconds_by_rows("signs")]),
        ],
    )
    assert not never
    assert not more_than_once
    assert len(shares) == WORKERS, "one of the workers ran nothing"


def enqueue_meeting() -> None:
    """Jobs that come before all others, and end when each worker is in one of them."""
    directory = settings.DIRECTORY / "meeting"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    workspace = {"directory": str(directory), "workers": WORKERS}
    queue.enqueue_many("meets", [workspace] * WORKERS, priority=1)
