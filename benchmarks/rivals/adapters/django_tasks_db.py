"""The database backend of Django's reference implementation of tasks."""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("python", "-m", "django", "db_worker")
BEST = (*WORKER, "--interval", "0.05", "--no-startup-delay", "--verbosity", "0")
KEEP = {"KEEP_CONNECTIONS": "1"}

RIVAL = Rival(
    name="django-tasks-db",
    requirements=("django-tasks-db==0.13.0", "Django==6.1.3", "psycopg[binary]==3.3.9"),
    store=PostgreSQL(
        "SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status <> 'SUCCESSFUL'"
    ),
    keeps_jobs=False,
    source="its issue #5: the task stays RUNNING",
    environment={"DJANGO_SETTINGS_MODULE": "settings"},
    variants=(
        Variant("as shipped", WORKER),
        Variant(
            "best settings",
            BEST,
            environment=KEEP,
            settings="--interval 0.05, --verbosity 0 (db_worker --help); CONN_MAX_AGE=None",
        ),
        Variant(
            "best settings, 2 processes",
            BEST,
            processes=2,
            copies=2,
            environment=KEEP,
            settings="the same, started twice",
            latency=False,
        ),
    ),
)
