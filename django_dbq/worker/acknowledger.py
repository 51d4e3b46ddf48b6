"""Write outcomes down: all that gathered while the last write was under way, in one go."""

from __future__ import annotations

import logging
from collections import deque
from uuid import UUID

from django.db import DatabaseError, Error, InterfaceError, OperationalError

from django_dbq import clock
from django_dbq.clock import DatabaseClock
from django_dbq.engines import Engine
from django_dbq.models import Job
from django_dbq.rules.outcomes import Failed, Failure, HandedBack, Outcome
from django_dbq.rules.states import FINAL

logger = logging.getLogger("django_dbq.worker")

LARGEST_BATCH = 1_000
# With a database that answers each time. More than one, because a session that somebody ends looks
# like a value that the database refuses by ending the session.
TRIES_TOGETHER, TRIES_ALONE = 2, 4


class Acknowledger:
    """Takes outcomes from any thread; the loop's thread writes them."""

    def __init__(self, engine: Engine, database_clock: DatabaseClock, *, worker: str) -> None:
        self.finished_jobs = 0  # COMPLETE, FAILED or CANCELLED, and written
        self.lost_jobs = 0  # outcomes that came too late: others had the job by then
        self._engine = engine
        self._clock = database_clock
        self._worker = worker
        self._gathered: deque[tuple[Job, Outcome]] = deque()
        self._unwritten: list[tuple[Job, Outcome]] = []  # kept until the database has them

    def add(self, job: Job, outcome: Outcome) -> None:
        """An attempt is over; called by the thread that ran it."""
        self._gathered.append((job, outcome))

    def flush(self) -> list[Job]:
        """Write what has gathered; returns the jobs whose outcomes the database has taken.

        Raises what the database raises when it cannot be reached. The outcomes are kept and sent
        again by the next flush, which is safe even if they did arrive.
        """
        batch = self.gather()
        if not batch:
            return []
        try:
            self._write_again_if_refused(batch, tries=TRIES_TOGETHER)
        except Exception as error:
            if self._is_outage(error):
                raise
            logger.warning("Outcomes were refused (%s); trying again one by one.", error)
            # One of them has a value that the database, or Django, refuses: it must not take the
            # others along, nor the worker.
            for job, outcome in batch:
                self._write_alone(job, outcome)
        return self._written(batch)

    def gather(self) -> list[tuple[Job, Outcome]]:
        """What the next flush would write."""
        while self._gathered and len(self._unwritten) < LARGEST_BATCH:
            self._unwritten.append(self._gathered.popleft())
        return self._unwritten

    def settle(self, batch: list[tuple[Job, Outcome]], lost: set[UUID]) -> list[Job]:
        """All that `gather` has returned was written by the caller, but for what was `lost`."""
        self._tell_of_lost(batch, lost)
        return self._written(batch)

    def _written(self, batch: list[tuple[Job, Outcome]]) -> list[Job]:
        self.finished_jobs += sum(outcome.state in FINAL for _, outcome in batch)
        self._unwritten = []
        return [job for job, _ in batch]

    def _is_outage(self, error: Exception) -> bool:
        """Whether the same outcomes may be taken later: rivals or a database that is away.

        Drivers also call errors operational that a value has caused: a packet that is too large, a
        character that the table cannot hold. Then the database answers all the same.
        """
        if isinstance(error, DatabaseError) and self._engine.is_transient(error):
            return True
        if not isinstance(error, (OperationalError, InterfaceError)):
            return False
        self._engine.forget_connection()
        try:
            self._engine.now()
        except Error:
            return True
        return False

    def _write(self, batch: list[tuple[Job, Outcome]]) -> None:
        now = self._clock.now()
        for are_started in (False, True):
            back = [
                job
                for job, outcome in batch
                if isinstance(outcome, HandedBack) and outcome.is_started == are_started
            ]
            if back:
                self._engine.hand_back(back, now=now, are_started=are_started)
        due = [
            (job, outcome)
            for job, outcome in batch
            if not outcome.is_written and not isinstance(outcome, HandedBack)
        ]
        lost = self._engine.acknowledge(due, now=now, worker=self._worker) if due else set()
        self._tell_of_lost(due, lost)

    def _tell_of_lost(self, batch: list[tuple[Job, Outcome]], lost: set[UUID]) -> None:
        self.lost_jobs += len(lost)
        for job, outcome in batch if lost else []:
            if job.pk in lost:
                logger.warning(
                    'Job lost: name="%s" id=%s: it was deleted or given to another worker while it '
                    "ran here; its outcome, %s, was not written. Lost by this worker so far: %d.",
                    job.name,
                    job.pk,
                    outcome.state.value,
                    self.lost_jobs,
                )

    def _write_again_if_refused(self, batch: list[tuple[Job, Outcome]], *, tries: int) -> None:
        """Write it; raises what an outage raises, or else what the last try did."""
        for tries_left in range(tries - 1, -1, -1):
            try:
                self._write(batch)
                return
            except Exception as error:
                if not tries_left or self._is_outage(error):
                    raise

    def _write_alone(self, job: Job, outcome: Outcome) -> None:
        try:
            self._write_again_if_refused([(job, outcome)], tries=TRIES_ALONE)
            return
        except Exception as error:
            if self._is_outage(error):
                raise
            refusal = error
        logger.error("Job id=%s: its outcome is refused; it is FAILED.", job.pk, exc_info=refusal)
        for failed in (self._refused(job, outcome, refusal), Failed()):
            try:
                self._write([(job, failed)])
                return
            except Exception as error:
                if self._is_outage(error):
                    raise
                logger.exception("Job id=%s: that is refused too.", job.pk)

    def _refused(self, job: Job, outcome: Outcome, error: Exception) -> Outcome:
        now = clock.aware_now()
        told = outcome.failure
        story = Failure.of(
            error,
            task=told.task if told else job.next_task,
            number=job.attempts,
            started_at=told.started_at if told else now,
            finished_at=now,
        )
        return Failed(story=story.in_ascii())
