"""The verbs that an application calls: `from django_dbq import queue`."""

from __future__ import annotations

from django_dbq.queue.control import cancel, rerun
from django_dbq.queue.enqueue import aenqueue_many, enqueue, enqueue_many, enqueue_on_commit
from django_dbq.queue.stats import depths
from django_dbq.queue.waiting import await_for, wait_for

__all__ = [
    "aenqueue_many",
    "await_for",
    "cancel",
    "depths",
    "enqueue",
    "enqueue_many",
    "enqueue_on_commit",
    "rerun",
    "wait_for",
]
