"""Ours, from this checkout."""

from __future__ import annotations

from benchmarks.machine import REPOSITORY
from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("python", "-m", "django", "worker")
REMAINING = "SELECT count(*) FROM django_dbq_job WHERE state <> 'COMPLETE'"

RIVAL = Rival(
    name="django-db-queue 4",
    requirements=("Django==6.1.3", "psycopg[binary]==3.3.9"),
    store=PostgreSQL(REMAINING),
    keeps_jobs=True,
    source="docs/reliability.md",
    is_ours=True,
    environment={"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": f".:{REPOSITORY}"},
    variants=(
        Variant(
            "as shipped",
            WORKER,
            settings="a job a second, as in 3.3 (docs/reference.md, RATE_LIMIT)",
        ),
        Variant(
            "without rate limit",
            (*WORKER, "--rate_limit", "0"),
            settings="--rate_limit 0 (docs/reference.md)",
        ),
        Variant(
            "without rate limit, 2 processes",
            (*WORKER, "--rate_limit", "0", "--processes", "2"),
            processes=2,
            settings="the same with --processes 2",
            latency=False,
        ),
    ),
)
