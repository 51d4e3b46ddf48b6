"""huey on SQLite: a thread that takes one job at a time, and deletes it before it runs.

Its documentation names `fsync=False` (SQLite then leaves the writing to the operating system),
`CySqliteHuey`, and `--quiet`, since the consumer writes two lines to its log for each job.
A second consumer, or a second worker of one consumer, added little: SQLite has one writer.
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import SQLite

WORKER = ("huey_consumer", "tasks.huey")
QUIET = (*WORKER, "--quiet")
GUIDES = "huey.readthedocs.io, pages consumer and sqlite"

RIVAL = Rival(
    name="huey on SQLite",
    requirements=("huey==3.5.4", "cysqlite==0.4.0"),
    store=SQLite("SELECT count(*) FROM task"),
    keeps_jobs=False,
    source="the job is deleted before it runs: huey/storage.py, SqliteStorage.dequeue",
    variants=(
        Variant("as shipped", WORKER),
        Variant("quiet", QUIET, settings=f"no log line per job: {GUIDES}", latency=False),
        Variant(
            "best settings",
            QUIET,
            environment={"BEST": "1"},
            settings=f"CySqliteHuey, fsync=False, no log line per job: {GUIDES}",
        ),
        Variant(
            "best settings, 2 processes",
            (*QUIET, "--workers=2", "--worker-type=process"),
            processes=2,
            environment={"BEST": "1"},
            settings="the same with two worker processes",
            latency=False,
        ),
    ),
)
