"""The worker: claim jobs, hand them to the pool, write their outcomes down, wait."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db import Error

from django_dbq import clock
from django_dbq.clock import DatabaseClock
from django_dbq.engines import Engine
from django_dbq.exceptions import InvalidOption
from django_dbq.models import Job
from django_dbq.rules.backoff import pause_after
from django_dbq.rules.outcomes import Outcome
from django_dbq.rules.prefetch import appetite
from django_dbq.worker.acknowledger import Acknowledger
from django_dbq.worker.executor import perform
from django_dbq.worker.pools import ThreadPool
from django_dbq.worker.registration import Lease
from django_dbq.worker.wakeup import Wakeup

logger = logging.getLogger("django_dbq.worker")

LONGEST_QUEUE_NAME = Job._meta.get_field("queue_name").max_length or 0
OVERDUE_SECONDS = 1.0  # a claimed job that no thread has started by then goes back
LOOK_INTERVAL_SECONDS = 0.25  # how often a busy worker looks for overdue jobs
LONGEST_PAUSE_SECONDS = 5.0  # between two tries, when the database is away


@dataclass(frozen=True)
class WorkerOptions:
    """What `manage.py worker` was asked for."""

    queues: tuple[str, ...] = ("default",)
    using: str = "default"
    rate_limit_seconds: float = 1
    threads: int = 1
    processes: int = 1
    burst: bool = False
    max_jobs: int | None = None

    def __post_init__(self) -> None:
        self._require_at_least("rate_limit", self.rate_limit_seconds, 0, "seconds")
        self._require_at_least("threads", self.threads, 1, "threads")
        self._require_at_least("processes", self.processes, 0, "processes")
        for queue in self.queues:
            if not 0 < len(queue) <= LONGEST_QUEUE_NAME:
                raise InvalidOption(
                    "queue_name", repr(queue), f"1 to {LONGEST_QUEUE_NAME} characters long"
                )
        if self.max_jobs is not None:
            self._require_at_least("max-jobs", self.max_jobs, 1, "jobs")

    @staticmethod
    def _require_at_least(option: str, found: float, least: int, unit: str) -> None:
        if not least <= found < math.inf:
            raise InvalidOption(option, found, f"a number of {unit} from {least} up")


class Worker:
    """One worker process's work, on the process's main thread."""

    def __init__(
        self, options: WorkerOptions, engine: Engine, *, worker_id: int, lease: Lease
    ) -> None:
        self.options, self.engine, self.worker_id, self.lease = options, engine, worker_id, lease
        self.clock = DatabaseClock(engine.now)
        self.wakeup = Wakeup()
        self.in_flight: dict[UUID, Job] = {}
        self.stopping = False
        self.acknowledger = Acknowledger(
            engine, self.clock, worker=f"{socket.gethostname()}:{os.getpid()}"
        )
        self.pool = ThreadPool(threads=options.threads, perform=perform, finished=self._finished)
        self._queue_is_empty = False
        self._next_job_at = float("-inf")
        self._outages = 0

    def stop(self) -> None:
        """Take no more jobs, finish those that run, return from `run`. Safe in a signal handler."""
        self.stopping = True
        self.wakeup.ring()

    def run(self) -> None:
        """Work until asked to stop, or until the options say that it is enough."""
        self._patiently(self.clock.synchronize)
        with self.pool:
            while not self._is_done():
                self._patiently(self._turn)
            while self.in_flight:
                self._patiently(self._wind_down)

    def _turn(self) -> None:
        self._flush()
        found = self._take()
        self._hand_back_overdue()
        self.wakeup.wait(self._pause_seconds(found_work=found))

    def _is_done(self) -> bool:
        enough = self._jobs_left() <= 0
        empty = self.options.burst and self._queue_is_empty
        return self.stopping or ((enough or empty) and not self.in_flight)

    # Taking jobs

    def _take(self) -> bool:
        """Claim what can soon be started and hand it to the pool; whether there was anything."""
        limit = self._appetite()
        if limit <= 0 or not self.lease.holds:
            return False
        if self.clock.is_old:
            self._reconcile()
        jobs = self.engine.claim(
            self.options.queues, limit=limit, worker_id=self.worker_id, now=self.clock.now()
        )
        self.in_flight.update((job.pk, job) for job in jobs)
        self.pool.submit(jobs)
        self._queue_is_empty = not jobs
        return bool(jobs)

    def _appetite(self) -> int:
        if self.stopping:
            return 0
        if self.options.rate_limit_seconds:
            too_soon = clock.monotonic() < self._next_job_at
            return 0 if too_soon or self.in_flight else int(min(1, self._jobs_left()))
        wanted = appetite(
            threads=self.options.threads,
            in_flight=len(self.in_flight),
            mean_seconds=self.pool.pace.mean_seconds,
        )
        return int(min(wanted, self._jobs_left()))

    def _jobs_left(self) -> float:
        if self.options.max_jobs is None:
            return math.inf
        return self.options.max_jobs - self.acknowledger.finished_jobs - len(self.in_flight)

    def _pause_seconds(self, *, found_work: bool) -> float:
        poll = self.wakeup.poll_pause_seconds(found_work=found_work)
        if self.in_flight:
            return LOOK_INTERVAL_SECONDS if self._appetite() <= 0 else poll
        return max(poll, self._next_job_at - clock.monotonic())

    # Being done with jobs

    def _finished(self, job: Job, outcome: Outcome) -> None:
        self.acknowledger.add(job, outcome)
        self._next_job_at = clock.monotonic() + self.options.rate_limit_seconds
        self.wakeup.ring()

    def _flush(self) -> None:
        for job in self.acknowledger.flush():
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

    def _wind_down(self) -> None:
        self._flush()
        self._hand_back_unstarted()
        self.engine.mark_stopping(self.pool.running, now=self.clock.now())
        self.wakeup.wait(LOOK_INTERVAL_SECONDS)

    # When the database is away

    def _patiently(self, step: Callable[[], None]) -> None:
        """Do one step; when the database is away, wait and come back for another."""
        try:
            if self._outages:
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
