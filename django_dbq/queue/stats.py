"""Numbers about the queue."""

from __future__ import annotations

from django.db import router

from django_dbq.engines import engine_for
from django_dbq.models import Job


def depths(*, exclude_future_jobs: bool = False, using: str | None = None) -> dict[str, int]:
    """How many jobs wait in each queue; queues where none waits are left out."""
    engine = engine_for(using or router.db_for_read(Job))
    return engine.depths(exclude_future_jobs=exclude_future_jobs)
