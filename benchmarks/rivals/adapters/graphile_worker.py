"""Graphile Worker: the fastest of the queues for Node, with a local queue and batched completions.

Its performance page gives the settings of its own benchmark, which are the best ones here: a
local queue of 500, concurrency 24, completions and failures sent in batches. Local queues of 1,000
and 2,000 and batch delays of 25 ms were not faster.
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("graphile-worker",)
BEST = {"BEST": "1", "NO_LOG_SUCCESS": "1"}
SETTINGS = (
    "concurrentJobs 24, localQueue.size 500, completeJobBatchDelay and failJobBatchDelay 0, "
    "no log line per job: worker.graphile.org/docs/performance"
)

RIVAL = Rival(
    name="graphile-worker",
    packages=("graphile-worker@0.17.3",),
    store=PostgreSQL("SELECT count(*) FROM graphile_worker._private_jobs"),
    keeps_jobs=True,
    source="after 4 hours: worker.graphile.org/docs/performance",
    do=("node", "do.mjs"),
    variants=(
        Variant("as shipped", WORKER),
        Variant("best settings", WORKER, environment=BEST, settings=SETTINGS),
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
