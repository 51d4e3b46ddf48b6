"""In which order a worker of every queue goes through them: that of their heads.

To find all queues takes as many steps as there are queues. So it is done now and then, and in
between the heads move by what was claimed: a queue comes behind another one as soon as its jobs
are younger, and is forgotten when it has no more.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from django_dbq.rules.budget import ask_again_at

SHARE_OF_ASKING = 0.02  # of the time, at most


class Head(NamedTuple):
    """The job of a queue that is the next to be claimed. The first in order is the best."""

    rank: int  # the less, the higher its priority
    created: datetime
    queue: str


class Heads:
    """What one worker knows of them; to forget it costs nothing but time."""

    def __init__(self) -> None:
        self._heads: list[Head] = []  # a heap
        self._ask_at = float("-inf")

    def __len__(self) -> int:
        return len(self._heads)

    def are_old(self, *, at: float) -> bool:
        """Whether to ask anew, at this monotonic time in seconds: others may have come."""
        return at >= self._ask_at

    def learn(self, heads: Iterable[Head], *, began_at: float, ended_at: float) -> None:
        """There are these and no others; asking took from `began_at` to `ended_at`."""
        self._heads = list(heads)
        heapq.heapify(self._heads)
        self._ask_at = ask_again_at(SHARE_OF_ASKING, began_at=began_at, ended_at=ended_at)

    def take_best(self) -> str:
        """The queue whose turn it is; it is forgotten."""
        return heapq.heappop(self._heads).queue

    def go_on_behind(self, queue: str, *, priority: int, created: datetime) -> None:
        """What may be left of this queue comes behind such a job."""
        heapq.heappush(self._heads, Head(-priority, created, queue))
