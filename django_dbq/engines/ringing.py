"""Who has enqueued jobs wakes workers that sleep: seldom, and only where some do."""

from __future__ import annotations

import logging
from typing import Any

from django_dbq import clock
from django_dbq.engines import engine_for

logger = logging.getLogger(__name__)

# How long a process remembers what it found out. Workers rely on it: one that parks looks once more
# after the first of these times (and twice before, for what came soon), and one that was woken
# after the second.
NOBODY_SECONDS = 0.25  # nobody was parked. At load nobody is, and nearly all rings end here
WOKEN_SECONDS = 0.005  # somebody was woken
MANY_QUEUES = 10_000

_quiet_until: dict[tuple[str, str], float] = {}


def ring(sender: object, *, using: str, queue_name: str, jobs: int, **other: Any) -> None:
    """Wake as many parked workers of the queue as there are jobs, and one; a `Signal` receiver.

    In the caller's thread and on its connection, outside of any transaction. Never raises: workers
    look by themselves too.
    """
    key, now = (using, queue_name), clock.monotonic()
    if now < _quiet_until.get(key, 0.0):
        return
    if len(_quiet_until) > MANY_QUEUES:
        _quiet_until.clear()
    _quiet_until[key] = now + WOKEN_SECONDS  # meanwhile no other thread needs to ask
    try:
        woken = engine_for(using).wake_parked(queue_name, limit=jobs + 1)
    except Exception as error:
        logger.debug("No worker could be woken: %s", str(error).strip())
        woken = False
    if not woken:
        _quiet_until[key] = now + NOBODY_SECONDS
