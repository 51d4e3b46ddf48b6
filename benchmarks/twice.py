"""Whether two workers ever run a job twice, or leave one out; and how fast they are meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from django.conf import settings

from benchmarks import table
from benchmarks.drain import rate, seconds_by_rows
from benchmarks.figures import Figure, Section
from benchmarks.worker import WorkerTree
from django_dbq.models import Job

JOBS = 10_000
QUICK_JOBS = 1_000


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    """Each job signs in a file. No word of the database's is taken for it."""
    jobs = QUICK_JOBS if quick else JOBS
    signatures = settings.DIRECTORY / "signatures"
    signatures.unlink(missing_ok=True)
    table.fill(jobs, "signs", {"file": str(signatures)})
    workers = [WorkerTree(), WorkerTree()]
    for worker in workers:
        worker.wait()
    table.require_all_complete(jobs)

    lines = [line.split() for line in signatures.read_text().splitlines()]
    times = Counter(job for job, _ in lines)
    expected = {str(pk) for pk in Job.objects.values_list("pk", flat=True)}
    shares = sorted(Counter(process for _, process in lines).values(), reverse=True)
    never = len(expected - times.keys())
    more_than_once = sum(count > 1 for count in times.values())
    yield Section(
        f"two workers, {jobs:,} jobs that sign in a file",
        [
            Figure("jobs that ran more than once", [more_than_once], "", "must be 0"),
            Figure("jobs that never ran", [never], "", "must be 0"),
            Figure("jobs of the busier worker", [shares[0]], "", f"{len(shares)} took part"),
            rate("both together", jobs, [seconds_by_rows()]),
        ],
    )
    assert times.keys() == expected
    assert not more_than_once
