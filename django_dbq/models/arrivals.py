"""Jobs have come: told to those who wait for them, once the caller's transaction is committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, transaction
from django.dispatch import Signal

from django_dbq.clock import aware_now

SOON = timedelta(seconds=1)  # idle workers look more often than that by themselves

arrived = Signal()
"""Sent with `using`, `queue_name` and `jobs`, their number, in the thread that has committed."""


def announce(queue_name: str, *, using: str, jobs: int = 1) -> None:
    """Tell, after the commit, that so many jobs of a queue can be claimed. Never fails.

    What it is not told of, a worker finds when it looks by itself, within a second.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        if connection.autocommit:
            _Announcement(queue_name, using, jobs)()
        return  # without autocommit, the commit is the caller's secret
    if getattr(connection.atomic_blocks[0], "_from_testcase", False):
        return  # it will be rolled back, and the test may count its callbacks
    savepoints = set(connection.savepoint_ids)
    for of, callback, *_ in connection.run_on_commit[-1:]:
        if not isinstance(callback, _Announcement) or callback.queue_name != queue_name:
            continue
        if of == savepoints:
            callback.jobs += jobs
            return
    transaction.on_commit(_Announcement(queue_name, using, jobs), using=using, robust=True)


def announce_all(queue_names: Iterable[str], *, using: str) -> None:
    """The same for many jobs, given the name of the queue of each."""
    for queue_name, jobs in Counter(queue_names).items():
        announce(queue_name, using=using, jobs=jobs)


class _Announcement:
    """One for all jobs of a queue that a transaction inserts in a row."""

    def __init__(self, queue_name: str, using: str, jobs: int) -> None:
        self.queue_name, self.using, self.jobs = queue_name, using, jobs

    def __call__(self) -> None:
        arrived.send_robust(None, using=self.using, queue_name=self.queue_name, jobs=self.jobs)


def is_soon(run_after: Any) -> bool:
    """Whether idle workers should hear of a job with this `run_after` at once."""
    if not isinstance(run_after, datetime):
        return True
    now = aware_now()
    return run_after <= (now if run_after.tzinfo else now.replace(tzinfo=None)) + SOON
