"""Django tasks in the database, with leases, retries and a reaper."""

from __future__ import annotations

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

WORKER = ("python", "-m", "django", "ox_worker")
BEST = (*WORKER, "--interval", "0.05", "--concurrency", "8")
KEEP = {"KEEP_CONNECTIONS": "1"}

RIVAL = Rival(
    name="django-ox",
    requirements=("django-ox==1.9.1", "Django==6.1.3", "psycopg[binary]==3.3.9"),
    store=PostgreSQL("SELECT count(*) FROM django_ox_oxtask WHERE status <> 'SUCCESSFUL'"),
    keeps_jobs=True,
    source="its README: a reaper returns unfinished tasks to the queue",
    environment={"DJANGO_SETTINGS_MODULE": "settings"},
    variants=(
        Variant("as shipped", WORKER),
        Variant(
            "best settings",
            BEST,
            environment=KEEP,
            settings="--interval 0.05, --concurrency 8 (its README); CONN_MAX_AGE=None",
        ),
        Variant(
            "best settings, 2 processes",
            (*BEST, "--processes", "2"),
            processes=2,
            environment=KEEP,
            settings="the same with --processes 2 (its README)",
            latency=False,
        ),
    ),
)
