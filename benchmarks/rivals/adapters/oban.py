"""Oban for Python: claims what its queue's limit leaves room for, and acknowledges together.

So the queue's limit is its batch size. Its command line takes uvloop if that is installed.
"""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

BEST = ("oban", "start", "--queues=default:500", "--log-level=warning")

RIVAL = Rival(
    name="Oban (Python)",
    requirements=("oban==0.7.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0"),
    store=PostgreSQL("SELECT count(*) FROM oban_jobs WHERE state <> 'completed'"),
    keeps_jobs=True,
    source="after 5 minutes: its lifeline's rescue_after",
    environment={"OBAN_DSN": "postgresql://"},  # the rest is in PGHOST and so on
    variants=(
        Variant(
            "as shipped",
            ("oban", "start", "--queues=default:10"),
            settings="the limit of 10 that its documentation shows",
        ),
        Variant(
            "best settings",
            BEST,
            settings="a queue limit of 500, uvloop, no log line per job: oban.pro/docs/py",
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
