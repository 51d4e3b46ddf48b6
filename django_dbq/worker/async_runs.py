"""A run of an async task: a task of asyncio's, among others on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from django_dbq.models import Job
from django_dbq.rules.outcomes import Outcome
from django_dbq.worker.interrupts import Interruption
from django_dbq.worker.ledger import NEVER, Ledger
from django_dbq.worker.runs import RunHere


class AsyncRun(RunHere):
    """Also the block in which it can be interrupted: there the task of asyncio's is cancelled.

    The block is entered before the loop turns to anything else, and so before any interruption.

    Used by the loop's thread alone, but for `interrupt`. Only the first interruption counts, as
    with threads: what goes on after it is left to whoever may kill the process.
    """

    def __init__(self, job: Job, ledger: Ledger, slot: int, task: asyncio.Task[Any]) -> None:
        super().__init__(job, ledger, slot)
        self._task = task
        self._interrupted_by: Interruption | None = None
        self._is_over = False

    def interrupt(self, why: Interruption, *, grace_seconds: float) -> None:
        self.timeout_at = NEVER
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing runs any more
            self._task.get_loop().call_soon_threadsafe(self._cancel, why)

    def _cancel(self, why: Interruption) -> None:
        if self._is_over or self._interrupted_by is not None:
            return
        self._interrupted_by = why
        self._task.cancel()

    async def perform(self, perform: Callable[..., Awaitable[Outcome]]) -> Outcome:
        """Run the task, by `perform_async` of the executor; what became of it."""
        self._ledger.start(self._slot, self.job.pk)
        try:
            return await perform(self.job, interruptible=self)
        finally:
            self._ledger.end(self._slot)

    def __enter__(self) -> AsyncRun:
        if self.timeout_seconds is not None:
            self._limit(self.timeout_seconds)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._is_over = True
        self._lift_limit()
        if self._interrupted_by is not None and isinstance(error, asyncio.CancelledError):
            if hasattr(self._task, "uncancel"):  # Python 3.11: so that what follows can time out
                self._task.uncancel()
            raise self._interrupted_by from error
