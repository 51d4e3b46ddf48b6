"""Ours, from this checkout, on SQLite: beside huey, which is there too."""

from __future__ import annotations

from benchmarks.rivals.adapters import django_db_queue_4 as ours
from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import SQLite

RIVAL = Rival(
    name="django-db-queue 4 on SQLite",
    requirements=ours.RIVAL.requirements,
    store=SQLite(ours.REMAINING),
    keeps_jobs=True,
    source="docs/reliability.md",
    environment={**ours.RIVAL.environment, "ON_SQLITE": "1"},
    project="django_db_queue_4",
    variants=(
        Variant(
            "without rate limit",
            (*ours.WORKER, "--rate_limit", "0"),
            settings="--rate_limit 0 (docs/reference.md), OPTIONS as in the README",
        ),
        Variant(
            "without rate limit, 2 processes",
            (*ours.WORKER, "--rate_limit", "0", "--processes", "2"),
            processes=2,
            settings="the same with --processes 2",
            latency=False,
        ),
    ),
)
