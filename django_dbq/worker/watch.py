"""Which running tasks must end, and by when: timeouts, cancelled jobs, a worker that must go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from uuid import UUID

from django_dbq import clock
from django_dbq.exceptions import JobCancelled, JobInterrupted, JobTimeout
from django_dbq.worker.ledger import NEVER
from django_dbq.worker.runs import Run

LAST_GRACE_SECONDS = 2.0  # for tasks in a process of their own, when the worker must go


class Watch:
    """Ends tasks in two steps: an exception is raised in them, and later their process is killed.

    The second step is for tasks in processes of their own. For those in threads it is the
    supervisor's, who kills the worker: a task that holds the GIL would keep us from doing it.
    """

    def __init__(self, runs: Callable[[], Iterable[Run]]) -> None:
        self._runs = runs

    def look(self, now: float | None = None) -> None:
        """Do what is due; called at each turn of the worker's loop."""
        now = clock.monotonic() if now is None else now
        for run in self._runs():
            if run.timeout_at <= now:
                run.interrupt(JobTimeout, grace_seconds=run.grace_seconds)
            elif run.kill_at <= now:
                run.kill_at = NEVER
                run.kill()

    def seconds_to_next(self, now: float | None = None) -> float:
        """How long `look` has nothing to do; infinity if nothing at all is to come."""
        now = clock.monotonic() if now is None else now
        due = (min(run.timeout_at, run.kill_at) for run in self._runs())
        return max(0.0, min(due, default=NEVER) - now)

    def cancel(self, job_ids: Collection[UUID]) -> None:
        """Somebody has cancelled these jobs; saying it again changes nothing."""
        for run in self._runs():
            if run.job.pk in job_ids:
                run.interrupt(JobCancelled, grace_seconds=run.grace_seconds)

    def interrupt_all(self) -> None:
        """The worker must go now; saying it again changes nothing."""
        for run in self._runs():
            grace_seconds = min(run.grace_seconds, LAST_GRACE_SECONDS)
            run.interrupt(JobInterrupted, grace_seconds=grace_seconds)
