"""Chancy: claims what its queue's concurrency leaves room for, and writes back each second.

Its documentation names the asyncio executor for many short jobs, `eager_polling` to claim again
as soon as a job ends, and the concurrency of a queue, which is also its batch size.
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("chancy", "--app=tasks.chancy", "worker", "start")
BEST_WORKER = ("python", "worker.py")
BEST = {"BEST": "1", "CONCURRENCY": "3000"}

RIVAL = Rival(
    name="chancy",
    requirements=("chancy[cli]==0.26.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0"),
    store=PostgreSQL("SELECT count(*) FROM chancy_jobs WHERE state <> 'succeeded'"),
    keeps_jobs=True,
    source="90 s after the last heartbeat: its Recovery plugin, on by default",
    variants=(
        Variant("as shipped", WORKER, settings="its executor of processes"),
        Variant(
            "best settings",
            BEST_WORKER,
            environment=BEST,
            settings="asyncio executor, eager polling, concurrency 3,000, no log line per job, "
            "uvloop: docs of Queue and AsyncExecutor",
        ),
        Variant(
            "best settings, 2 processes",
            BEST_WORKER,
            processes=2,
            copies=2,
            environment=BEST,
            settings="the same, started twice",
            latency=False,
        ),
    ),
)
