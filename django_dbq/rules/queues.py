"""Which queues a worker serves: those that it names, or every one."""

from __future__ import annotations

from collections.abc import Collection

EVERY_QUEUE = "*"  # in place of names; so a queue of this name can be had only with all others


def covers(queues: Collection[str], queue: str) -> bool:
    """Whether a worker of these queues takes jobs of that one."""
    return queue in queues or EVERY_QUEUE in queues


def overlap(queues: Collection[str], others: Collection[str]) -> bool:
    """Whether two workers compete for jobs."""
    if EVERY_QUEUE in queues or EVERY_QUEUE in others:
        return True
    return not set(queues).isdisjoint(others)
