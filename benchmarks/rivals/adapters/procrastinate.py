"""procrastinate: one job per claim and per completion, through functions in the database.

Its documentation names `--concurrency` for jobs that wait, and `--delete-jobs`. Nothing makes it
claim more than one job at a time.
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("procrastinate", "--app=tasks.app", "worker")
QUIET = ("procrastinate", "--app=tasks.app", "--log-level=warning", "worker")
BEST = (*QUIET, "--concurrency=10", "--delete-jobs=successful")

RIVAL = Rival(
    name="procrastinate",
    requirements=("procrastinate==3.10.0", "psycopg[binary]==3.3.9"),
    store=PostgreSQL("SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'"),
    keeps_jobs=False,
    source="only by a task of the user's own: howto/production/retry_stalled_jobs",
    variants=(
        Variant("as shipped", WORKER),
        Variant(
            "best settings",
            BEST,
            settings="--concurrency 10, --delete-jobs successful, no log line per job: "
            "howto/basics/worker",
        ),
        Variant(
            "best settings, 2 processes",
            BEST,
            processes=2,
            copies=2,
            settings="the same, started twice",
            latency=False,
        ),
    ),
)
