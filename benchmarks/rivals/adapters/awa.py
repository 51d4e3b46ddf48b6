"""awa: a queue written in Rust with workers in Python; its tables are added to, then truncated.

Its documentation names `max_workers` of a queue, 50 by default, which is also how many it claims
at once. What is still to be done is what was enqueued without what its receipts say is completed.
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("python", "worker.py")
BEST = (*WORKER, "--max-workers=1000")

RIVAL = Rival(
    name="awa",
    requirements=("awa-pg==0.6.9",),
    store=PostgreSQL(
        "SELECT (SELECT count(*) FROM awa.ready_entries)"
        " - (SELECT coalesce(sum(completed_count), 0) FROM awa.receipt_completion_batches)"
        " - (SELECT count(*) FROM awa.done_entries WHERE state = 'completed')"
    ),
    keeps_jobs=True,
    source="90 s after the last heartbeat: docs/configuration.md",
    variants=(
        Variant("as shipped", (*WORKER, "--max-workers=50")),
        Variant(
            "best settings",
            BEST,
            settings="max_workers 1,000: docs/configuration.md",
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
