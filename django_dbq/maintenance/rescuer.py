"""Give back the jobs of workers that are dead, as far as others can tell."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django_dbq.engines import Engine
from django_dbq.models import WorkerProcess
from django_dbq.rules.deaths import Death
from django_dbq.rules.silence import Silence

logger = logging.getLogger("django_dbq.maintenance")

# A supervisor that beats each second and whose session is ended is heard again by then.
COMES_BACK_WITHIN = timedelta(seconds=1.5)


def rescue_abandoned(engine: Engine, *, now: datetime) -> int:
    """Rescue the jobs of workers whose supervisor has been seen to end; returns how many jobs.

    Like `rescue_silent` for any number of processes at once: each job is given back once.
    """
    abandoned = engine.abandoned_workers(unseen_since=now - COMES_BACK_WITHIN)
    return _rescue(engine, abandoned, "its supervisor's session has ended", now)


def rescue_silent(
    engine: Engine, silence: Silence, *, lease: timedelta, now: datetime, at: float
) -> int:
    """Rescue the jobs of all workers silent for longer than `lease`; returns how many jobs.

    By the database's clock; if that has been set back, by what this process has noted in `silence`,
    which also keeps those alive who seem silent because it has been set forward. `at`: the
    monotonic time, no later than what was noted last.
    """
    lease_seconds = lease.total_seconds()
    by_the_clock = engine.silent_workers(since=now - lease)
    still = silence.of_at_least(lease_seconds / 2, at=at).intersection(by_the_clock)
    silent = sorted(still | silence.of_at_least(lease_seconds, at=at))
    rescued = _rescue(engine, silent, f"no heartbeat for {lease_seconds:g} s", now)
    return rescued + _rescue(engine, engine.vanished_workers(), "it was taken for dead before", now)


def _rescue(engine: Engine, worker_ids: Iterable[int], cause: str, now: datetime) -> int:
    total = 0
    for worker_id in worker_ids:
        worker = WorkerProcess.objects.using(engine.using).filter(pk=worker_id).first()
        death = Death(worker=str(worker or f"worker {worker_id}"), cause=cause)
        rescued = engine.rescue(worker_id, death, now=now)
        logger.warning(
            "Worker %d is taken for dead; jobs given back: %d. It was %s: %s.",
            worker_id,
            rescued,
            death.worker,
            cause,
        )
        total += rescued
    return total
