"""The worker: claim jobs, hand them to the pool, write their outcomes down, wait."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.db import Error

from django_dbq import clock
from django_dbq.clock import DatabaseClock
from django_dbq.engines import Engine
from django_dbq.models import Job
from django_dbq.models.arrivals import arrived
from django_dbq.rules.backoff import pause_after
from django_dbq.rules.declarations import is_known
from django_dbq.rules.outcomes import SUCCESS, Declined, Outcome
from django_dbq.rules.reach import Reach
from django_dbq.worker.acknowledger import Acknowledger
from django_dbq.worker.appetite import Appetite
from django_dbq.worker.executor import perform
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.logs import DONE
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.pools import ThreadPool
from django_dbq.worker.registration import Lease
from django_dbq.worker.wakeup import Wakeup
from django_dbq.worker.watch import Watch

logger = logging.getLogger("django_dbq.worker")

OVERDUE_SECONDS = 0.5  # a claimed job that no thread has started by then goes back
LONGEST_REST_SECONDS = 1.0  # of an idle worker, which is woken when jobs come
LOOK_INTERVAL_SECONDS = 0.25  # how often a busy worker looks for overdue jobs
CANCEL_INTERVAL_SECONDS = 1.0  # how often it asks which of its jobs were called off
LONGEST_PAUSE_SECONDS = 5.0  # between two tries, when the database is away


class Worker:
    """One worker process's work, on the process's main thread."""

    def __init__(
        self,
        options: WorkerOptions,
        engine: Engine,
        *,
        worker_id: int,
        lease: Lease,
        ledger: Ledger,
    ) -> None:
        self.options, self.engine, self.worker_id, self.lease = options, engine, worker_id, lease
        self.clock = DatabaseClock(engine.now)
        self.wakeup = Wakeup()
        self.doorbell = engine.doorbell(options.queues, worker_id=worker_id, now=self.clock.now)
        self.in_flight: dict[UUID, Job] = {}
        self.acknowledger = Acknowledger(
            engine, self.clock, worker=f"{socket.gethostname()}:{os.getpid()}"
        )
        self.pool = ThreadPool(
            threads=options.threads, perform=perform, finished=self._finished, ledger=ledger
        )
        self.appetite = Appetite(options, engine, self.pool, lease=lease.length)
        self.watch = Watch(lambda: self.pool.runs)
        # Names and tasks left to other workers. Threads add to it: what is lost in between, when it
        # is looked through, will be declined once more.
        self._unknown: set[tuple[str, str]] = set()
        self._reach = Reach()
        self._stop_asked_at: float | None = None
        self._has_no_grace = False
        self._asked_for_cancels_at = float("-inf")
        self._queue_is_empty = self._has_backlog = False
        self._next_job_at = float("-inf")
        self._outages = 0

    def stop(self, *, at_once: bool = False) -> None:
        """Take no more jobs, finish those that run, return from `run`. Safe in a signal handler.

        What runs when the grace time is over, or `at_once`, is interrupted and given back.
        """
        if at_once:
            self._has_no_grace = True
        if self._stop_asked_at is None:
            self._stop_asked_at = clock.monotonic()
        self.wakeup.ring()

    @property
    def stopping(self) -> bool:
        return self._stop_asked_at is not None

    def run(self) -> None:
        """Work until asked to stop, or until the options say that it is enough."""
        self.engine.limit_waiting()
        self._patiently(self._synchronize)
        arrived.connect(self._jobs_arrived)
        with self.pool, _turns_of(self.engine.turn_seconds):
            while not self._is_done():
                self._patiently(self._turn)
            while self.in_flight:
                self._patiently(self._wind_down)
        DONE.settle(now=True)
        arrived.disconnect(self._jobs_arrived)

    def _synchronize(self) -> None:
        with self.engine.response_timeout():
            self.clock.synchronize()

    def _turn(self) -> None:
        with self.engine.response_timeout():
            found = self._exchange()
            self._hand_back_overdue()
            self._ask_for_cancels()
        self.watch.look()
        DONE.settle()
        if not self._is_done():
            self._rest(found_work=found)

    def _rest(self, *, found_work: bool) -> None:
        """Sleep until there may be something to do."""
        if found_work:
            self.doorbell.found_work()
        has_a_free_thread = len(self.in_flight) < self.options.threads
        if has_a_free_thread and self._appetite() > 0 and self.lease.holds:
            self.wakeup.wait_for_jobs(self.doorbell, self._rest_seconds(), found_work=found_work)
            self._reach.none_is_due(until=self.doorbell.none_due_until)
        else:
            too_soon_seconds = self._next_job_at - clock.monotonic()
            self.wakeup.wait_while_busy(self.doorbell, self._rest_seconds(too_soon_seconds))

    def _rest_seconds(self, too_soon_seconds: float = 0.0) -> float:
        if self.in_flight:
            return min(LOOK_INTERVAL_SECONDS, self.watch.seconds_to_next())
        return too_soon_seconds if too_soon_seconds > 0 else LONGEST_REST_SECONDS

    def _is_done(self) -> bool:
        enough = self._jobs_left() <= 0
        empty = self.options.burst and self._queue_is_empty
        return self.stopping or ((enough or empty) and not self.in_flight)

    def _jobs_arrived(self, sender: object, *, using: str, queue_name: str, **other: Any) -> None:
        """A task of this process has enqueued jobs."""
        if using == self.engine.using and queue_name in self.options.queues:
            self.wakeup.ring()

    # Taking jobs

    def _exchange(self) -> bool:
        """Write down what is done and take other jobs; whether there were any.

        With one commit, if there are certain to be some; an idle worker has no commit to save.
        """
        done = self.acknowledger.gather()
        limit = self._limit(done=len(done))
        if limit and self._has_backlog and _are_plain_successes(done):
            try:
                lost, jobs = self.engine.exchange(done, **self._wishes(limit))
            except Error as error:
                logger.debug("One by one, because together they fail: %s", error)
                self._flush()
                self._reconcile()  # perhaps it was committed, and only the answer was lost
                return self._take()
            self._forget(self.acknowledger.settle(done, lost))
            self._start(jobs, limit)
            return True
        self._flush()
        return self._take()

    def _take(self) -> bool:
        """Claim what can soon be started; whether there was anything."""
        limit = self._limit()
        if not limit:
            return False
        jobs = self.engine.claim(**self._wishes(limit))
        self._start(jobs, limit)
        return bool(jobs)

    def _limit(self, *, done: int = 0) -> int:
        """How many jobs to claim, `done` of those in flight being all but written down."""
        limit = self._appetite(done=done)
        if limit <= 0 or not self.lease.holds:
            return 0
        if self.clock.is_old:
            self._reconcile()
        return self.appetite.share_of(limit, len(self.in_flight) - done, now=self.clock.now())

    def _wishes(self, limit: int) -> dict[str, Any]:
        """What the engine is told for a claim."""
        self._unknown = {each for each in tuple(self._unknown) if not is_known(*each)}
        return {
            "queues": self.options.queues,
            "limit": limit,
            "worker_id": self.worker_id,
            "now": self.clock.now(),
            "but": self._unknown,
            "reach": self._reach,
        }

    def _start(self, jobs: list[Job], limit: int) -> None:
        self.in_flight.update((job.pk, job) for job in jobs)
        self.pool.submit(jobs)
        self._queue_is_empty = not jobs
        self._has_backlog = len(jobs) == limit

    def _appetite(self, *, done: int = 0) -> int:
        if self.stopping:
            return 0
        if self.options.rate_limit_seconds:
            too_soon = clock.monotonic() < self._next_job_at
            return 0 if too_soon or self.in_flight else int(min(1, self._jobs_left()))
        wanted = self.appetite.wanted(len(self.in_flight) - done)
        return int(min(wanted, self._jobs_left()))

    def _jobs_left(self) -> float:
        if self.options.max_jobs is None:
            return math.inf
        return self.options.max_jobs - self.acknowledger.finished_jobs - len(self.in_flight)

    # Being done with jobs

    def _finished(self, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, Declined):
            self._unknown.add((job.name, outcome.task))
        self.acknowledger.add(job, outcome)
        self._next_job_at = clock.monotonic() + self.options.rate_limit_seconds
        self.wakeup.ring()

    def _flush(self) -> None:
        self._forget(self.acknowledger.flush())

    def _forget(self, jobs: list[Job]) -> None:
        for job in jobs:
            self.in_flight.pop(job.pk, None)
            self._queue_is_empty = False  # its next task may wait there now

    def _hand_back_overdue(self) -> None:
        """A job that takes long keeps those behind it from starting: others may start them."""
        if self.pool.waiting and clock.monotonic() - self.pool.moved_at > OVERDUE_SECONDS:
            self._hand_back_unstarted()

    def _hand_back_unstarted(self) -> None:
        jobs = self.pool.take_back()
        for job in jobs:
            del self.in_flight[job.pk]
        # Should this fail, nobody knows which were given back: `_reconcile` gives back the rest.
        self.engine.hand_back(jobs, now=self.clock.now())

    # Ending what runs

    def _ask_for_cancels(self) -> None:
        """Find out which jobs were called off since they were claimed, and tell their tasks."""
        now = clock.monotonic()
        if now - self._asked_for_cancels_at < CANCEL_INTERVAL_SECONDS or not self.in_flight:
            return
        self._asked_for_cancels_at = now
        if all(now - run.started_at < CANCEL_INTERVAL_SECONDS for run in self.pool.runs):
            return  # short tasks end before anybody could ask them to
        cancelled = self.in_flight.keys() & set(self.engine.cancel_requests(self.worker_id))
        for pk in cancelled:
            self.in_flight[pk].cancel_requested_at = self.clock.now()
        self.watch.cancel(cancelled)

    def _wind_down(self) -> None:
        with self.engine.response_timeout():
            self._flush()
            self._hand_back_unstarted()
            self.engine.mark_stopping(self.pool.running, now=self.clock.now())
            self._ask_for_cancels()
        if self._grace_is_over:
            self.watch.interrupt_all()
        self.watch.look()
        self.wakeup.wait(min(LOOK_INTERVAL_SECONDS, self.watch.seconds_to_next()))

    @property
    def _grace_is_over(self) -> bool:
        if self._has_no_grace:
            return True
        if self._stop_asked_at is None or self.options.grace is None:
            return False
        waited_seconds = clock.monotonic() - self._stop_asked_at
        return waited_seconds >= self.options.grace.total_seconds()

    # When the database is away

    def _patiently(self, step: Callable[[], None]) -> None:
        """Do one step; when the database is away, wait and come back for another."""
        try:
            if self._outages:
                with self.engine.response_timeout():
                    self._reconcile()
            step()
        except Error as error:
            self._outages += 1
            pause = pause_after(self._outages, first=0.2, longest=LONGEST_PAUSE_SECONDS)
            logger.warning(
                "The database failed us (%s); trying again in %.1f s.", str(error).strip(), pause
            )
            self.engine.forget_connection()
            self.wakeup.wait(pause)

    def _reconcile(self) -> None:
        """Give up what a claim took without our hearing of it.

        After an outage, and every so often: a claim that was cut off may be committed later still.
        """
        self.clock.synchronize()
        self.engine.hand_back_unknown(
            self.worker_id, known=set(self.in_flight), now=self.clock.now()
        )
        if self._outages:
            logger.info("The database answers again.")
        self._outages = 0


def _are_plain_successes(done: list[tuple[Job, Outcome]]) -> bool:
    """Whether there are any, and none that a database could refuse."""
    return bool(done) and all(outcome is SUCCESS for _, outcome in done)


@contextlib.contextmanager
def _turns_of(seconds: float | None) -> Iterator[None]:
    """Have Python's threads take turns that are no longer than that."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, seconds or before))
    try:
        yield
    finally:
        sys.setswitchinterval(before)
