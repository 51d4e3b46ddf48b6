"""Rails' Solid Queue for Django's tasks: a table for each state, LISTEN/NOTIFY on PostgreSQL."""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("python", "-m", "django", "dj_queue")
SETTINGS = (
    "8 threads, prefetch_multiplier 20 (its README, Options); CONN_MAX_AGE=None, "
    "preserve_finished_jobs=False (Postgres Queue Health)"
)

RIVAL = Rival(
    name="dj_queue",
    requirements=("dj-queue==0.14.2", "Django==6.1.3", "psycopg[binary]==3.3.9"),
    store=PostgreSQL("SELECT count(*) FROM dj_queue_jobs WHERE finished_at IS NULL"),
    keeps_jobs=False,
    source="its README, Signals and recovery: claimed work is kept as failed work",
    environment={"DJANGO_SETTINGS_MODULE": "settings"},
    variants=(
        Variant("as shipped", WORKER, settings="3 threads"),
        Variant(
            "best settings",
            WORKER,
            environment={"KEEP_CONNECTIONS": "1", "PROCESSES": "1"},
            settings=SETTINGS,
        ),
        Variant(
            "best settings, 2 processes",
            WORKER,
            processes=2,
            environment={"KEEP_CONNECTIONS": "1", "PROCESSES": "2"},
            settings="the same with processes=2 (its README, Options)",
            latency=False,
        ),
    ),
)
