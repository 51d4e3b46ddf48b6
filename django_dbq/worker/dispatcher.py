"""The two places where a worker runs jobs: threads, and an event loop for those that are async."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from django_dbq import clock
from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared
from django_dbq.models import Job
from django_dbq.rules import callables, django_tasks
from django_dbq.rules.outcomes import HandedBack, Outcome
from django_dbq.rules.prefetch import AsyncShare, MeanDuration
from django_dbq.worker.event_loop import EventLoop
from django_dbq.worker.executor import may_be_awaited, perform, perform_async
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.logs import log
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.pools import ThreadPool
from django_dbq.worker.runs import Run


class Dispatcher:
    """Hands each job to its place, and shows both as one pool; a context that ends with both.

    What kind a function is shows when its module is imported, which may take long, or kill the
    process. So the first job of a function goes to a thread, which finds out and moves it here.
    """

    def __init__(
        self, options: WorkerOptions, *, finished: Callable[[Job, Outcome], None], ledger: Ledger
    ) -> None:
        self.async_share = AsyncShare()  # of the event loop's, among the jobs that were submitted
        self.overdue_at = float("-inf")  # when some of them were last overdue
        self._finished = finished
        self._threads = ThreadPool(
            threads=options.threads,
            perform=partial(perform, leave_async=True),
            finished=finished,
            moved=self._move,
            ledger=ledger,
        )
        self._event_loop = EventLoop(
            slots=range(options.threads, options.slots),
            perform=perform_async,
            finished=finished,
            ledger=ledger,
        )

    def __enter__(self) -> Dispatcher:
        self._threads.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._threads.__exit__(*exc_info)
        self._event_loop.close()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run these jobs, in this order, as threads or slots become free."""
        if not self.async_share.value:  # none was found: whatever comes is for a thread to look at
            if self.pace.mean_seconds is not None:
                self.async_share.note(is_async=0, of=len(jobs))
            self._threads.submit(jobs)
            return
        for_threads: list[Job] = []
        for_loop: list[Job] = []
        unknown = 0
        for job in jobs:
            is_async = _is_async(job)
            unknown += is_async is None
            (for_loop if is_async and _is_for_the_loop(job) else for_threads).append(job)
        self.async_share.note(is_async=len(for_loop), of=len(jobs) - unknown)
        if for_threads:  # else nothing has moved there
            self._threads.submit(for_threads)
        self._event_loop.submit(for_loop)

    def _move(self, job: Job) -> None:
        """A thread has found out that this job is async."""
        try:
            self._event_loop.submit([job])
            self.async_share.note(is_async=1, of=1)
        except RuntimeError as error:  # no more threads are to be had
            log(logging.ERROR, "Job id=%s goes back: %s", job.pk, error)
            self._finished(job, HandedBack())

    # Both as one

    @property
    def waiting(self) -> int:
        """How many jobs have not begun yet."""
        return self._threads.waiting + self._event_loop.waiting

    @property
    def runs(self) -> list[Run]:
        """The runs that are under way, for whoever must end them."""
        return [*self._threads.runs, *self._event_loop.runs]

    @property
    def running(self) -> list[Job]:
        """The jobs whose tasks run now."""
        return [run.job for run in self.runs]

    def take_back(self) -> list[Job]:
        """The jobs that have not begun, which now will not."""
        return [*self._threads.take_back(), *self._event_loop.take_back()]

    def take_overdue(self, after_seconds: float) -> list[Job]:
        """Those of them that wait where nothing has begun for longer than that."""
        now, overdue = clock.monotonic(), []
        for place in (self._threads, self._event_loop):
            if place.waiting and now - place.moved_at > after_seconds:
                overdue += place.take_back()
                self.overdue_at = now
        return overdue

    # How much room there is

    @property
    def pace(self) -> MeanDuration:
        """How long jobs on threads take. Async ones need not be few: they are not waited for."""
        return self._threads.pace

    def stuck_threads(self, after_seconds: float) -> int:
        """How many threads have been running the same job for longer than that."""
        return self._threads.stuck_threads(after_seconds)

    @property
    def on_threads(self) -> int:
        """How many jobs are on threads, or wait for one."""
        return self._threads.waiting + len(self._threads.runs)

    @property
    def free_slots(self) -> int:
        """How many more async jobs could begin now."""
        return self._event_loop.free

    def warn_of_blocking(self) -> None:
        """Log it when an async task keeps the others from running; once."""
        self._event_loop.warn_of_blocking()


def _is_async(job: Job) -> bool | None:
    """Whether its task is async; None if nobody has looked yet."""
    if job.backend is None:
        return callables.was_async(job.next_task)
    return django_tasks.was_async(job.next_task)


def _is_for_the_loop(job: Job) -> bool:
    try:
        declaration = job.declaration
    except (JobNotDeclared, InvalidDeclaration):
        return False
    return may_be_awaited(job, declaration)
