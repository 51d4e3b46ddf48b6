"""How far along a queue a claim begins to look.

A row that is done leaves its entry in the index of ready jobs until the database may clear it away,
which it may not while anybody has an older snapshot open. Such entries lie in front of the jobs
that wait, and a claim walks over all of them. So it begins where the one before it found its first
job, and looks everywhere now and then, and whenever it finds nothing: for jobs that came in out of
order, and for other priorities. That makes it right; beginning further along makes it fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from django_dbq.rules.budget import ask_again_at
from django_dbq.rules.heads import Heads

SHARE_OF_LOOKING_EVERYWHERE = 0.05  # of the time, at most
SHARE_OF_ASKING_FOR_DUE = 0.05
MOST_PRIORITIES = 50  # each is a look of its own
MANY_QUEUES = 10_000  # a worker of every queue may see new names for ever


class Found(Protocol):
    """What is asked of a job that was claimed."""

    priority: int
    created: datetime


class Reach:
    """What one worker remembers of its queues; to forget it costs nothing but time."""

    def __init__(self) -> None:
        self.heads = Heads()  # of a worker of every queue
        self._begins: dict[str, dict[int, datetime]] = {}
        self._everywhere_at: dict[str, float] = {}
        self._ask_for_due_at: dict[str, float] = {}
        self._none_due_until = float("-inf")

    def begins(self, queue: str, *, at: float) -> dict[int, datetime]:
        """From which `created` on to look, by priority, the highest first; empty: everywhere.

        `at` is a monotonic time in seconds.
        """
        begins = self._begins.get(queue, {})
        if at >= self._everywhere_at.get(queue, at) or len(begins) > MOST_PRIORITIES:
            return {}
        return dict(sorted(begins.items(), reverse=True))

    def looked_everywhere(
        self, queue: str, jobs: Iterable[Found], *, began_at: float, ended_at: float
    ) -> None:
        """Such a look took from `began_at` to `ended_at` and found these jobs."""
        if len(self._begins) > MANY_QUEUES:
            self._begins.clear()
            self._everywhere_at.clear()
        self._everywhere_at[queue] = ask_again_at(
            SHARE_OF_LOOKING_EVERYWHERE, began_at=began_at, ended_at=ended_at
        )
        self._begins[queue] = {}
        self.found(queue, jobs)

    def found(self, queue: str, jobs: Iterable[Found]) -> None:
        """A look found these jobs: the next one begins with the first of them."""
        first: dict[int, datetime] = {}
        for job in jobs:
            if job.priority not in first or job.created < first[job.priority]:
                first[job.priority] = job.created
        self._begins[queue].update(first)

    def asks_for_due(self, queue: str, *, at: float) -> bool:
        """Whether to ask which scheduled jobs have become due: that walks over dead entries too."""
        return at >= max(self._ask_for_due_at.get(queue, at), self._none_due_until)

    def none_is_due(self, *, until: float) -> None:
        """By another way it is known that before then no scheduled job becomes due."""
        self._none_due_until = until

    def asked_for_due(self, queue: str, *, began_at: float, ended_at: float) -> None:
        """None was; asking took from `began_at` to `ended_at`."""
        self._ask_for_due_at[queue] = ask_again_at(
            SHARE_OF_ASKING_FOR_DUE, began_at=began_at, ended_at=ended_at
        )
