"""A cluster of processes around the database as a broker."""

from __future__ import annotations

import os

from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.stores import PostgreSQL

CORES = os.cpu_count() or 1
WORKER = ("python", "-m", "django", "qcluster")

RIVAL = Rival(
    name="django-q2",
    requirements=("django-q2==1.11.1", "Django==6.1.3", "psycopg[binary]==3.3.9"),
    store=PostgreSQL("SELECT count(*) FROM django_q_ormq"),
    keeps_jobs=True,
    source="its configuration page, retry: delivered again after 60 s, running or not",
    environment={"DJANGO_SETTINGS_MODULE": "settings"},
    variants=(
        Variant("as shipped", WORKER, processes=CORES, settings="a worker process for each core"),
        Variant(
            "best settings",
            WORKER,
            environment={"KEEP_CONNECTIONS": "1", "WORKERS": "1"},
            settings="workers 1, bulk 100, queue_limit 500, recycle 100,000, save_limit -1, "
            "poll 0.05 (its configuration page); CONN_MAX_AGE=None",
        ),
        Variant(
            "best settings, 2 processes",
            WORKER,
            processes=2,
            environment={"KEEP_CONNECTIONS": "1", "WORKERS": "2"},
            settings="the same with workers 2",
            latency=False,
        ),
    ),
)
