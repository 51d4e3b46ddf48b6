"""What we replace: one job per claim, and a second of sleep after each."""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("python", "-m", "django", "worker")

RIVAL = Rival(
    name="django-db-queue 3.3",
    requirements=("django-db-queue==3.3.0", "Django==5.1.15", "psycopg[binary]==3.3.9"),
    store=PostgreSQL("SELECT count(*) FROM django_dbq_job WHERE state <> 'COMPLETE'"),
    keeps_jobs=False,
    source="the job stays PROCESSING; its README tells of no way back",
    environment={"DJANGO_SETTINGS_MODULE": "settings"},
    variants=(
        Variant("as shipped", WORKER),
        Variant(
            "without its sleep",
            ("python", "worker_without_sleep.py", "--rate_limit", "0"),
            settings="its source changed: the sleep(1) before each job cannot be set",
            latency=False,  # it would ask the database without end
        ),
    ),
)
