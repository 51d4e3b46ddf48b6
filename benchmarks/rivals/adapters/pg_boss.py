"""pg-boss: workers for Node that poll; a handler gets a batch of jobs.

Its documentation of `work()` names `batchSize`, `burstWhenBatchFull` (no pause while batches come
back full), `localConcurrency` and `perJobResults` (each job has its own end, as fast here as one
end for all); that of queues names `notify`, against its poll of 2 s. Larger batches were faster all
the way to 10,000. It needs Node 22, which is installed beside it.
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("node", "worker.mjs")
BEST = {"BEST": "1"}

RIVAL = Rival(
    name="pg-boss",
    packages=("pg-boss@12.38.0", "node@22.23.3"),
    store=PostgreSQL(
        "SELECT count(*) FROM pgboss.job WHERE name = 'noop' AND state <> 'completed'"
    ),
    keeps_jobs=True,
    source="after 15 minutes: its expireInSeconds",
    do=("node", "do.mjs"),
    variants=(
        Variant("as shipped", WORKER, settings="one job every 2 s"),
        Variant(
            "best settings",
            WORKER,
            environment=BEST,
            settings="batchSize 10,000, localConcurrency 4, burstWhenBatchFull, perJobResults, "
            "notify: docs/api/workers.md",
        ),
        Variant(
            "best settings, 2 processes",
            WORKER,
            processes=2,
            copies=2,
            environment=BEST,
            settings="the same, started twice",
            latency=False,
        ),
    ),
)
