"""Numbers about the queue, and who serves it."""

from __future__ import annotations

from collections.abc import Iterable

from django_dbq import settings as dbq_settings
from django_dbq.engines import engine_for
from django_dbq.models import Job
from django_dbq.rules.queues import covers


def depths(*, exclude_future_jobs: bool = False, using: str | None = None) -> dict[str, int]:
    """How many jobs wait in each queue; queues where none waits are left out."""
    return Job.get_queue_depths(exclude_future_jobs=exclude_future_jobs, using=using)


def unserved(queues: Iterable[str], *, using: str) -> list[str]:
    """Those of these queues that no live worker serves, in the order of their names."""
    engine = engine_for(using)
    heard_since = engine.now() - dbq_settings.current().lease
    served = [name for names in engine.queues_of_workers(heard_since=heard_since) for name in names]
    return sorted(name for name in queues if not covers(served, name))
