"""No queue: the statements of our own worker, and no Python for a job (benchmarks/limit.py)."""

from __future__ import annotations

from benchmarks.rivals.adapters import django_db_queue_4 as ours
from benchmarks.rivals.rival import Rival, Variant

COMMAND = ("python", "work_at_the_limit.py")
SETTINGS = "claims and acknowledges batches of 500"

RIVAL = Rival(
    name="our statements alone",
    requirements=ours.RIVAL.requirements,
    store=ours.RIVAL.store,
    keeps_jobs=None,
    source="no queue",
    is_limit=True,
    environment=ours.RIVAL.environment,
    project="django_db_queue_4",
    variants=(
        Variant("one client", COMMAND, settings=SETTINGS, latency=False),
        Variant("2 clients", COMMAND, processes=2, copies=2, settings=SETTINGS, latency=False),
    ),
)
