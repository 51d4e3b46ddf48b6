"""How somebody who waits for a job learns that it has ended.

Who waits looks, at growing pauses. Each database may have a way to end such a pause at once; if it
has none, or it fails, the next look comes all the same.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any
from uuid import UUID

from django_dbq.engines.sessions import Sessions


class Waiter:
    """One who waits for one job, on this thread's connection; a context."""

    def __init__(self, engine: Any, job_id: UUID) -> None:
        self.engine, self.job_id = engine, job_id

    def __enter__(self) -> Waiter:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def pause(self, seconds: float) -> None:
        """Sleep for so long, or until there is something to look at."""
        time.sleep(seconds)


class Teller:
    """A worker's way to tell who waits: kept by one thread, the one whose connection it is."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def tell(self, ended: Collection[UUID]) -> None:
        """These jobs have ended, and that is committed. Never raises."""


class Awaiting(Sessions):
    """The verbs of both sides."""

    def waiter(self, job_id: UUID) -> Waiter:
        return Waiter(self, job_id)

    def teller(self) -> Teller:
        return Teller(self)
