"""One run of a job's task: for how long it may go on, and how it is made to end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from django.db import Error, connections

from django_dbq import clock
from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared
from django_dbq.models import Job
from django_dbq.rules.declarations import JobDeclaration
from django_dbq.rules.outcomes import Outcome
from django_dbq.worker.interrupts import Interruptible, Interruption
from django_dbq.worker.ledger import NEVER, Ledger

DEFAULT_GRACE_SECONDS = JobDeclaration.grace.total_seconds()


class Run:
    """What `worker/watch.py` sees of a run: when to do what to it, as monotonic times."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.started_at = clock.monotonic()
        self.timeout_at = NEVER  # for JobTimeout to be raised in it
        self.kill_at = NEVER
        self.timeout_seconds: float | None = None
        self.grace_seconds = DEFAULT_GRACE_SECONDS
        try:
            declaration = job.declaration
        except (JobNotDeclared, InvalidDeclaration):
            return  # told by the attempt
        if declaration.timeout is not None:
            self.timeout_seconds = declaration.timeout.total_seconds()
        self.grace_seconds = declaration.grace.total_seconds()

    def interrupt(self, why: Interruption, *, grace_seconds: float) -> None:
        """Raise `why` in the task, unless it has been interrupted before or is over.

        If it has a process of its own, that is to be killed when the grace is over, or earlier if
        so it was said before.
        """
        raise NotImplementedError

    def kill(self) -> None:
        """End the task's process, if it has one of its own."""


class RunHere(Run):
    """A run in the worker's process, which is killed for it if it will not end.

    That is the supervisor's to do: the ledger tells it when.
    """

    def __init__(self, job: Job, ledger: Ledger, slot: int) -> None:
        super().__init__(job)
        self._ledger = ledger
        self._slot = slot

    def _limit(self, timeout_seconds: float) -> None:
        """The task begins."""
        self.timeout_at = clock.monotonic() + timeout_seconds
        self._ledger.limit(self._slot, self.timeout_at + self.grace_seconds)

    def _lift_limit(self) -> None:
        """It has ended: the hooks that run after a task may take their time."""
        if self.timeout_seconds is not None:
            self.timeout_at = NEVER
            self._ledger.limit(self._slot, NEVER)


class ThreadRun(RunHere):
    """A run on a thread of the worker; also the block in which it can be interrupted."""

    def __init__(self, job: Job, ledger: Ledger, slot: int) -> None:
        super().__init__(job, ledger, slot)
        self._block = Interruptible()

    def interrupt(self, why: Interruption, *, grace_seconds: float) -> None:
        self.timeout_at = NEVER
        self._block.interrupt(why)

    def perform(self, perform: Callable[..., Outcome]) -> Outcome:
        self._ledger.start(self._slot, self.job.pk)
        try:
            return perform(self.job, interruptible=self)
        finally:
            self._ledger.end(self._slot)
            if self._block.interrupted_by:  # perhaps in the middle of a query
                with contextlib.suppress(Error):
                    connections.close_all()

    def __enter__(self) -> ThreadRun:
        try:
            if self.timeout_seconds is not None:
                self._limit(self.timeout_seconds)
            self._block.__enter__()
        except BaseException:  # interrupted already
            self._lift_limit()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._block.__exit__(*exc_info)
        finally:
            self._lift_limit()
