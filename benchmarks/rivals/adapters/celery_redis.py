"""The incumbent, on Redis."""

from __future__ import annotations

import os

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import Redis

CORES = os.cpu_count() or 1
WORKER = ("celery", "-A", "tasks", "worker")
BEST = (*WORKER, "--without-gossip", "--without-mingle", "--without-heartbeat")
WHERE = "task_ignore_result, worker_prefetch_multiplier 128, no gossip, mingle or heartbeat"

RIVAL = Rival(
    name="Celery",
    requirements=("celery[redis]==5.7.0",),
    store=Redis((("LLEN", "celery"), ("HLEN", "unacked"))),
    keeps_jobs=False,
    source="its task_acks_late setting: a task is acknowledged before it runs unless that is set",
    variants=(
        Variant("as shipped", WORKER, processes=CORES, settings="a prefork process for each core"),
        Variant(
            "best settings",
            (*BEST, "--pool", "solo"),
            environment={"BEST": "1"},
            settings=f"{WHERE} (its pages Optimizing and Workers); solo pool",
        ),
        Variant(
            "best settings, prefork of 1",
            (*BEST, "--concurrency", "1"),
            environment={"BEST": "1"},
            settings=f"{WHERE}; prefork of 1",
            latency=False,
        ),
        Variant(
            "best settings, 2 processes",
            (*BEST, "--concurrency", "2"),
            processes=2,
            environment={"BEST": "1"},
            settings=f"{WHERE}; prefork of 2",
            latency=False,
        ),
    ),
)
