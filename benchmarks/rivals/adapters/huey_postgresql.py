"""huey on PostgreSQL: `PostgresHuey`, one job at a time, deleted before it runs.

Its documentation offers workers as threads or processes, and `--quiet`, since the consumer writes
two lines to its log for each job. Eight threads were slower here than one, eight processes a
little faster than four.
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("huey_consumer", "tasks.huey")
QUIET = (*WORKER, "--quiet")
GUIDE = "huey.readthedocs.io, page consumer"

RIVAL = Rival(
    name="huey on PostgreSQL",
    requirements=("huey==3.5.4", "psycopg[binary]==3.3.9"),
    store=PostgreSQL("SELECT count(*) FROM huey_task"),
    keeps_jobs=False,
    source="the job is deleted before it runs: huey/storage.py, PostgresStorage.dequeue",
    variants=(
        Variant("as shipped", WORKER),
        Variant("best settings", QUIET, settings=f"no log line per job: {GUIDE}"),
        Variant(
            "best settings, 2 processes",
            (*QUIET, "--workers=2", "--worker-type=process"),
            processes=2,
            settings=f"no log line per job, two worker processes: {GUIDE}",
            latency=False,
        ),
        Variant(
            "8 processes",
            (*QUIET, "--workers=8", "--worker-type=process"),
            processes=8,
            settings="the same with eight",
            latency=False,
        ),
    ),
)
