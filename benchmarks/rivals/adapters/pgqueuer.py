"""pgqueuer: asyncio workers that claim in batches and delete what is done. Our yardstick.

Its performance guide names `batch_size` for short jobs and `pgq autovac` after the installation;
its own benchmark runs asyncpg on uvloop. Batches of 500 to 2,000 were alike here, 100 was a fifth
slower. The table of jobs is logged in every variant, as it is by default ("durable").
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("python", "worker.py")
BEST = "batch size {} on uvloop, `pgq autovac` applied: docs/guides/performance-tuning.md"

RIVAL = Rival(
    name="pgqueuer",
    requirements=("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"),
    store=PostgreSQL("SELECT count(*) FROM pgqueuer"),
    keeps_jobs=True,
    source="a claim takes over jobs without a heartbeat for 30 s: docs/guides/heartbeat.md",
    variants=(
        Variant("as shipped", WORKER, settings="asyncpg, which its documentation starts with"),
        Variant(
            "batch of 100",
            (*WORKER, "--batch-size=100", "--uvloop"),
            environment={"AUTOVAC": "1"},
            settings=BEST.format(100),
            latency=False,
        ),
        Variant(
            "best settings",
            (*WORKER, "--batch-size=1000", "--uvloop"),
            environment={"AUTOVAC": "1"},
            settings=BEST.format("1,000"),
        ),
        Variant(
            "best settings, 2 processes",
            (*WORKER, "--batch-size=1000", "--uvloop"),
            processes=2,
            copies=2,
            environment={"AUTOVAC": "1"},
            settings="the same, started twice",
            latency=False,
        ),
    ),
)
