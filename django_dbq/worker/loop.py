"""The worker: claim jobs, hand them to the pool, write their outcomes down, wait."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import Error

from django_dbq import clock
from django_dbq.clock import DatabaseClock
from django_dbq.engines import Claim, Engine
from django_dbq.models import Job
from django_dbq.models.arrivals import arrived
from django_dbq.rules.backoff import pause_after
from django_dbq.rules.declarations import Known, is_known
from django_dbq.rules.outcomes import SUCCESS, Declined, HandedBack, Outcome
from django_dbq.rules.queues import covers
from django_dbq.rules.reach import Reach
from django_dbq.worker.acknowledger import Acknowledger
from django_dbq.worker.appetite import Appetite
from django_dbq.worker.dispatcher import Dispatcher
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.logs import DONE
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.registration import Lease
from django_dbq.worker.wakeup import Wakeup
from django_dbq.worker.watch import Watch

logger = logging.getLogger("django_dbq.worker")

OVERDUE_SECONDS = 0.5  # a claimed job that has not begun by then goes back
LONGEST_REST_SECONDS = 1.0  # of an idle worker, which is woken when jobs come
BUSY_REST_SECONDS = 0.25  # of a busy one: some of its jobs may be overdue
CANCEL_INTERVAL_SECONDS = 1.0  # how often it asks which of its jobs were called off
MOST_UNKNOWN = 300  # names and tasks that a claim passes over
LOCKED_GRACE = timedelta(minutes=1)  # at a stop, for rows that others have locked
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
        self.options, self.engine, self.worker_id = options, engine, worker_id
        self.clock = DatabaseClock(engine.now)
        self.wakeup = Wakeup()
        self.doorbell = engine.doorbell(options.queues, worker_id=worker_id, now=self.clock.now)
        self.in_flight: dict[UUID, Job] = {}
        self.acknowledger = Acknowledger(
            engine, self.clock, worker=f"{socket.gethostname()}:{os.getpid()}"
        )
        self.ledger = ledger
        self.pool = Dispatcher(options, finished=self._finished, ledger=ledger)
        self.appetite = Appetite(options, engine, self.pool, lease=lease)
        self.watch = Watch(lambda: self.pool.runs)
        # Names and tasks left to other workers. Threads add to it: what is lost in between, when it
        # is looked through, will be declined once more.
        self._unknown: set[tuple[str, str]] = set()
        self._takes_known_jobs_only = False
        self._reach = Reach()
        self._stop_asked_at: float | None = None
        self._has_no_grace = False
        self._asked_for_cancels_at = float("-inf")
        self._queue_is_empty = self._has_backlog = False
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
        arrived.connect(self._jobs_arrived)
        with self.pool, _turns_of(self.engine.turn_seconds), self.engine.lock_timeout():
            self._patiently(self._synchronize)
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
            if self.clock.is_old:
                self._reconcile()
            found = self._exchange()
            self._hand_back_overdue()
            self._ask_for_cancels()
        self._look_after_runs()
        DONE.settle()
        if not self._is_done():
            self._rest(found_work=found)

    def _rest(self, *, found_work: bool) -> None:
        """Sleep until there may be something to do."""
        if found_work:
            self.doorbell.found_work()
        in_flight, finished = self._numbers()
        has_room = self.appetite.has_room(in_flight)
        if has_room and self.appetite.wanted(in_flight, finished=finished):
            self.wakeup.wait_for_jobs(self.doorbell, self._rest_seconds(), found_work=found_work)
            self._reach.none_is_due(until=self.doorbell.none_due_until)
        else:
            self.wakeup.wait_while_busy(self.doorbell, self._rest_seconds())

    def _rest_seconds(self) -> float:
        if self.in_flight:
            return min(BUSY_REST_SECONDS, self.watch.seconds_to_next())
        return self.appetite.too_soon_seconds or LONGEST_REST_SECONDS

    def _is_done(self) -> bool:
        in_flight, finished = self._numbers()
        enough = self.appetite.is_over(in_flight, finished=finished)
        empty = self.options.burst and self._queue_is_empty
        return self.stopping or ((enough or empty) and not self.in_flight)

    def _jobs_arrived(self, sender: object, *, using: str, queue_name: str, **other: Any) -> None:
        """A task of this process has enqueued jobs."""
        if using == self.engine.using and covers(self.options.queues, queue_name):
            self.wakeup.ring()

    # Taking jobs

    def _exchange(self) -> bool:
        """Write down what is done and take other jobs; whether there were any.

        With one commit, if there are certain to be some; an idle worker has no commit to save.
        """
        done = self.acknowledger.gather()
        is_worth_it = self._has_backlog and _are_plain_successes(done)
        limit = self._limit(done=len(done)) if is_worth_it else 0
        if limit:
            succeeded = [job for job, _ in done]
            try:
                lost, jobs = self.engine.exchange(succeeded, self._wish(limit))
            except Error as error:
                logger.debug("One by one, because together they fail: %s", error)
                self._flush()
                self._reconcile()  # perhaps it was committed, and only the answer was lost
                return self._take()
            self._forget(self.acknowledger.settle(done, lost))
            self._start(jobs, limit)
            return bool(jobs)
        self._flush()
        return self._take()

    def _take(self) -> bool:
        """Claim what can soon be started; whether there was anything."""
        limit = self._limit()
        if not limit:
            return False
        jobs = self.engine.claim(self._wish(limit))
        self._start(jobs, limit)
        return bool(jobs)

    def _limit(self, *, done: int = 0) -> int:
        """How many jobs to claim, `done` of those in flight being all but written down."""
        if self.stopping:
            return 0
        in_flight, finished = self._numbers(done=done)
        return self.appetite.limit(in_flight, finished=finished, now=self.clock.now())

    def _numbers(self, *, done: int = 0) -> tuple[int, int]:
        """How many jobs are in flight, and how many finished, with those that wait for a lock."""
        done += self.acknowledger.locked_jobs
        return len(self.in_flight) - done, self.acknowledger.finished_jobs + done

    def _wish(self, limit: int) -> Claim:
        self._unknown = {each for each in tuple(self._unknown) if not is_known(*each)}
        if len(self._unknown) > MOST_UNKNOWN:
            # To name some of them would be no help: the others, at the head of the queue, would
            # keep it from those that it knows.
            self._takes_known_jobs_only, self._unknown = True, set()
        return Claim(
            self.options.queues,
            limit=limit,
            worker_id=self.worker_id,
            now=self.clock.now(),
            but=self._unknown,
            only=Known.here() if self._takes_known_jobs_only else None,
            reach=self._reach,
        )

    def _start(self, jobs: list[Job], limit: int) -> None:
        self.in_flight.update((job.pk, job) for job in jobs)
        self.pool.submit(jobs)
        self._queue_is_empty = not jobs
        self._has_backlog = len(jobs) == limit

    # Being done with jobs

    def _finished(self, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, Declined):
            self._unknown.add((job.name, outcome.task))
        self.acknowledger.add(job, outcome)
        self.appetite.job_ended()
        self.wakeup.ring()

    def _flush(self) -> None:
        self._forget(self.acknowledger.flush())

    def _forget(self, jobs: list[Job]) -> None:
        for job in jobs:
            if self.in_flight.get(job.pk) is job:  # else it was lost, and claimed here once more
                del self.in_flight[job.pk]
            self._queue_is_empty = False  # its next task may wait there now
        if jobs:
            self.ledger.keep_ended(self.in_flight)

    def _hand_back_overdue(self) -> None:
        """A job that takes long keeps those behind it from starting: others may start them."""
        jobs = self.pool.take_overdue(OVERDUE_SECONDS)
        if jobs:
            self._hand_back(jobs)

    def _hand_back(self, jobs: list[Job]) -> None:
        """And write down what else is done."""
        for job in jobs:
            self.acknowledger.add(job, HandedBack())
        self._flush()

    # Ending what runs

    def _look_after_runs(self) -> None:
        if self._grace_is_over:
            self.watch.interrupt_all()
        self.watch.look()
        self.pool.warn_of_blocking()

    def _ask_for_cancels(self) -> None:
        """Find out which jobs were called off since they were claimed, and tell their tasks."""
        now = clock.monotonic()
        if now - self._asked_for_cancels_at < CANCEL_INTERVAL_SECONDS or not self.in_flight:
            return
        self._asked_for_cancels_at = now
        if all(now - run.started_at < CANCEL_INTERVAL_SECONDS for run in self.pool.runs):
            return  # short tasks end before anybody could ask them to
        cancelled = set(self.engine.cancel_requests(self.in_flight.values()))
        for pk in cancelled:
            self.in_flight[pk].cancel_requested_at = self.clock.now()
        self.watch.cancel(cancelled)

    def _wind_down(self) -> None:
        with self.engine.response_timeout():
            self._hand_back(self.pool.take_back())
            self.engine.mark_stopping(self.pool.running, now=self.clock.now())
            self._ask_for_cancels()
        if self._grace_is_over or self._has_stopped_for(LOCKED_GRACE):
            self._forget(self.acknowledger.give_up_locked())
        self._look_after_runs()
        self.wakeup.wait(min(BUSY_REST_SECONDS, self.watch.seconds_to_next()))

    @property
    def _grace_is_over(self) -> bool:
        return self._has_no_grace or self._has_stopped_for(self.options.grace)

    def _has_stopped_for(self, grace: timedelta | None) -> bool:
        if self._stop_asked_at is None or grace is None:
            return False
        return clock.monotonic() - self._stop_asked_at >= grace.total_seconds()

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
            self._wait_for_the_database(pause)

    def _wait_for_the_database(self, seconds: float) -> None:
        """For the time of the running tasks goes on: they are to be interrupted as ever."""
        ends_at = clock.monotonic() + seconds
        has_rung = False
        while not has_rung and (rest := ends_at - clock.monotonic()) > 0:
            self._look_after_runs()
            has_rung = self.wakeup.wait(min(rest, BUSY_REST_SECONDS, self.watch.seconds_to_next()))

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
