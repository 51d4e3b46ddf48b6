"""Give back the jobs of workers that have stopped sending heartbeats."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django_dbq.engines import Engine

logger = logging.getLogger("django_dbq.maintenance")


def rescue_silent(engine: Engine, *, lease: timedelta, now: datetime) -> int:
    """Rescue the jobs of all workers silent for longer than `lease`; returns how many jobs.

    Any number of processes may do this at once: each job is given back once.
    """
    rescued = 0
    for worker_id in engine.silent_workers(since=now - lease):
        count = engine.rescue(worker_id, now=now)
        logger.warning(
            "Worker %d has been silent for more than %s and is taken for dead; "
            "%d jobs of it were given back.",
            worker_id,
            lease,
            count,
        )
        rescued += count
    return rescued
