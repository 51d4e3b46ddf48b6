"""Give back the jobs of workers that have stopped sending heartbeats."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django_dbq.engines import Engine
from django_dbq.rules.deaths import Death

logger = logging.getLogger("django_dbq.maintenance")


def rescue_silent(engine: Engine, *, lease: timedelta, now: datetime) -> int:
    """Rescue the jobs of all workers silent for longer than `lease`; returns how many jobs.

    Any number of processes may do this at once: each job is given back once.
    """
    silent = engine.silent_workers(since=now - lease)
    return sum(_rescue(engine, worker_id, now) for worker_id in silent + engine.vanished_workers())


def _rescue(engine: Engine, worker_id: int, now: datetime) -> int:
    death = Death(worker=f"worker {worker_id}", cause="it sent no heartbeats any more")
    rescued = engine.rescue(worker_id, death, now=now)
    logger.warning("Worker %d is taken for dead; jobs given back: %d.", worker_id, rescued)
    return rescued
