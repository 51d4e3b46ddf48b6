"""For how long workers have been silent, by a clock that nobody sets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class Silence:
    """Keeps what each worker's last heartbeat was when it was looked at, and since when.

    Heartbeats bear the time of the database's clock, which may be set, or jump by an hour when
    summer ends and USE_TZ is off. Who lives is heard again: its last heartbeat changes.
    """

    def __init__(self) -> None:
        self._since: dict[int, tuple[datetime, float]] = {}

    def note(self, last_seen: Mapping[int, datetime], *, at: float) -> None:
        """These are the last heartbeats of all workers, at this monotonic time."""
        self._since = {
            worker_id: self._since[worker_id]
            if worker_id in self._since and self._since[worker_id][0] == seen
            else (seen, at)
            for worker_id, seen in last_seen.items()
        }

    def of_at_least(self, seconds: float, *, at: float) -> set[int]:
        """The workers of which nothing has been heard for so long, as far as was looked."""
        return {worker_id for worker_id, (_, since) in self._since.items() if at - since >= seconds}
