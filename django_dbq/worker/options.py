"""What a worker was asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from django_dbq.exceptions import InvalidOption
from django_dbq.rules.options import LONGEST_QUEUE_NAME
from django_dbq.rules.queues import EVERY_QUEUE


@dataclass(frozen=True)
class WorkerOptions:
    """The arguments of `manage.py worker`, checked; raises InvalidOption."""

    queues: tuple[str, ...] = ("default",)
    using: str = "default"
    rate_limit_seconds: float = 1
    threads: int = 1
    async_concurrency: int = 100
    processes: int = 1
    burst: bool = False
    max_jobs: int | None = None
    grace: timedelta | None = None  # None: running tasks finish, however long that takes

    def __post_init__(self) -> None:
        self._require_at_least("rate_limit", self.rate_limit_seconds, 0, "seconds")
        self._require_at_least("threads", self.threads, 1, "threads")
        self._require_at_least("async-concurrency", self.async_concurrency, 1, "jobs")
        self._require_at_least("processes", self.processes, 0, "processes")
        for queue in self.queues:
            if not 0 < len(queue) <= LONGEST_QUEUE_NAME:
                raise InvalidOption(
                    "queue_name", repr(queue), f"1 to {LONGEST_QUEUE_NAME} characters long"
                )
        if self.serves_every_queue and len(self.queues) > 1:
            raise InvalidOption(
                "queue_name", " ".join(self.queues), f"names, or {EVERY_QUEUE!r} alone for all"
            )
        if self.max_jobs is not None:
            self._require_at_least("max-jobs", self.max_jobs, 1, "jobs")
        if self.grace is not None:
            self._require_at_least("grace", self.grace.total_seconds(), 0, "seconds")

    @property
    def serves_every_queue(self) -> bool:
        return EVERY_QUEUE in self.queues

    @property
    def slots(self) -> int:
        """How many jobs one process may run at a time."""
        return self.threads + self.async_concurrency

    @staticmethod
    def _require_at_least(option: str, found: float, least: int, unit: str) -> None:
        if not least <= found < math.inf:
            raise InvalidOption(option, found, f"a number of {unit} from {least} up")
