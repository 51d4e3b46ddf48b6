"""The verbs that an application calls: `from django_dbq import queue`."""

from __future__ import annotations

from django_dbq.queue.control import cancel, rerun
from django_dbq.queue.enqueue import enqueue, enqueue_many
from django_dbq.queue.stats import depths

__all__ = ["cancel", "depths", "enqueue", "enqueue_many", "rerun"]
