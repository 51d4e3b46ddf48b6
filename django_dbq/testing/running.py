"""Run what is due, here and now, in the test's own transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import router
from django.db.models import Min

from django_dbq.clock import as_aware, as_stored, aware_now
from django_dbq.engines import Claim, engine_for
from django_dbq.exceptions import Retry, TooManyJobs
from django_dbq.models import Job
from django_dbq.models.job import JobQuerySet
from django_dbq.rules.outcomes import Declined, Outcome, Retried
from django_dbq.rules.queues import EVERY_QUEUE
from django_dbq.rules.states import WAITING, State
from django_dbq.testing.clocks import MovedClock, movable_clock, one_clock
from django_dbq.worker.by_hand import attempt_here

NO_WAIT = timedelta(0)


class JobsRun(list[Job]):
    """The jobs of which a task was run, each once, in the order of their first; as they are now."""

    @property
    def complete(self) -> list[Job]:
        return self._in(State.COMPLETE)

    @property
    def failed(self) -> list[Job]:
        return self._in(State.FAILED)

    @property
    def cancelled(self) -> list[Job]:
        return self._in(State.CANCELLED)

    @property
    def waiting(self) -> list[Job]:
        """Those that go on later: snoozed, or waiting for another attempt."""
        return self._in(*WAITING)

    def _in(self, *states: State) -> list[Job]:
        return [job for job in self if job.state in states]


def run_jobs(
    *,
    queues: Sequence[str] | str | None = None,
    until: timedelta | datetime | None = None,
    max_jobs: int = 1_000,
    raise_errors: bool = False,
    using: str | None = None,
) -> JobsRun:
    """Run all jobs that are due, and what they enqueue, as a worker would; returns them.

    The best first, of all queues; or, as `manage.py worker` does, queue by queue of those named. In
    this thread and this transaction. Hooks and retries work as in a worker. But nobody ends a task
    that overruns its timeout, and no task gets a process of its own.

    A job that is not yet due stays, unless it will be due by `until`: the clock is moved from one
    due time to the next, and at last to `until`. Afterwards the clock is what it was before, but
    that of `move_clock` stays there.

    Raises:
        TooManyJobs: `max_jobs` tasks were run, and more were due.
        What a task raised: the first error, with `raise_errors`, written down all the same; also
            one after which another attempt follows, but for a `Retry`, which asks for that.
    """
    alias = using or router.db_for_write(Job)
    named = (queues,) if isinstance(queues, str) else queues
    drain = _Drain(alias, named, max_jobs=max_jobs, raise_errors=raise_errors)
    if until is None:
        with one_clock():
            drain.run()
    else:
        with movable_clock() as moved:
            wait = until if isinstance(until, timedelta) else as_aware(until) - moved.now()
            drain.run_until(moved, wait)
    return drain.jobs_run()


class _Drain:
    """One call of `run_jobs`."""

    def __init__(
        self, alias: str, queues: Sequence[str] | None, *, max_jobs: int, raise_errors: bool
    ) -> None:
        self.alias, self.queues = alias, queues
        self.max_jobs, self.raise_errors = max_jobs, raise_errors
        self.engine = engine_for(alias)
        self._jobs: dict[UUID, Job] = {}
        self._tasks_run = 0
        self._declined: set[tuple[str, str]] = set()  # a worker leaves them to another one

    def run(self) -> None:
        """Until none is due."""
        while True:
            job = self._claimed()
            if job is None:
                return
            if self._tasks_run >= self.max_jobs:
                self.engine.hand_back([job], now=aware_now())
                raise TooManyJobs(self.max_jobs, job.name)
            self._attempt(job)

    def run_until(self, clock: MovedClock, wait: timedelta) -> None:
        """Until none is due in a clock that has been moved by so much in all."""
        self.run()
        while True:
            due = self._next_due(clock.now())
            step = None if due is None else max(due - clock.now(), NO_WAIT)
            if step is None or step > wait:
                break
            clock.forward(step)
            wait -= step
            self.run()
        clock.forward(max(wait, NO_WAIT))
        self.run()

    def jobs_run(self) -> JobsRun:
        rows = self._rows.in_bulk(list(self._jobs))
        return JobsRun(rows.get(pk, job) for pk, job in self._jobs.items())

    @property
    def _rows(self) -> JobQuerySet:
        return JobQuerySet(Job, using=self.alias)

    def _claimed(self) -> Job | None:
        now = aware_now()
        queues = [EVERY_QUEUE] if self.queues is None else self.queues
        wish = Claim(queues, limit=1, worker_id=None, now=now, but=self._declined)
        return next(iter(self.engine.claim(wish)), None)

    def _next_due(self, now: datetime) -> datetime | None:
        ahead = self._waiting().filter(run_after__gt=as_stored(now)).order_by()
        due: datetime | None = ahead.aggregate(due=Min("run_after"))["due"]
        return due and as_aware(due)

    def _waiting(self) -> JobQuerySet:
        waiting = self._rows.filter(state__in=WAITING, gate__isnull=True)
        for name, task in self._declined:
            waiting = waiting.exclude(name=name, **({"next_task": task} if task else {}))
        return waiting

    def _attempt(self, job: Job) -> None:
        pk = job.pk
        errors: list[BaseException] = []
        outcome = attempt_here(self.engine, job, failed=errors.append)
        if isinstance(outcome, Declined):
            self._declined.add((job.name, outcome.task))
            return
        self._tasks_run += 1
        self._jobs.setdefault(pk, job)
        if errors and self._is_raised(errors[0], outcome):
            raise errors[0]

    def _is_raised(self, error: BaseException, outcome: Outcome) -> bool:
        if isinstance(error, KeyboardInterrupt):  # meant for the test run: a worker is no such
            return True
        asked_for_it = isinstance(error, Retry) and isinstance(outcome, Retried)
        return self.raise_errors and not asked_for_it
