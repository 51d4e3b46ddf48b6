"""No queue: the least that any queue in PostgreSQL must do, sent by PostgreSQL's own benchmark."""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

COMMAND = ("pgbench", "--no-vacuum", "--protocol=prepared", "--time=600", "--file=batch.sql")
SETTINGS = "claims 500 rows of a table with one partial index, then completes them"

RIVAL = Rival(
    name="pgbench",
    store=PostgreSQL("SELECT count(*) FROM job WHERE state <> 2"),
    keeps_jobs=None,
    source="no queue",
    is_limit=True,
    do=("sh", "do.sh"),
    variants=(
        Variant("one client", (*COMMAND, "--client=1"), settings=SETTINGS, latency=False),
        Variant(
            "2 clients",
            (*COMMAND, "--client=2", "--jobs=2"),
            processes=2,
            settings=SETTINGS,
            latency=False,
        ),
    ),
)
