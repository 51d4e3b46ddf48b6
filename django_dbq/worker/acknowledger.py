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

LARGEST_BATCH = 4_000
# With a database that answers each time. More than one, because a session that somebody ends looks
# like a value that the database refuses by ending the session.
TRIES_TOGETHER, TRIES_ALONE = 2, 4
LOCKED_INTERVAL_SECONDS = 1.0  # how often it asks whether a row can be written now


class Acknowledger:
    """Takes outcomes from any thread; the loop's thread writes them."""

    def __init__(self, engine: Engine, database_clock: DatabaseClock, *, worker: str) -> None:
        self.finished_jobs = 0  # COMPLETE, FAILED or CANCELLED, and written
        self.lost_jobs = 0  # outcomes that came too late: others had the job by then
        self._engine = engine
        self._clock = database_clock
        self._worker = worker
        self._gathered: deque[tuple[Job, Outcome]] = deque()
        self._teller = engine.teller()
        self._unwritten: list[tuple[Job, Outcome]] = []  # kept until the database has them
        self._lost: set[UUID] = set()  # of these
        self._locked: list[tuple[Job, Outcome]] = []  # left until others let go of their rows
        self._told_of_locks: set[UUID] = set()
        self._asked_for_locks_at = float("-inf")
        self._sent_at = float("-inf")

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
            self._write_all(batch)
        except Error as error:
            if not self._has_waited(error) or not self._leave_locked():
                raise
            return self.flush()
        return self._written(batch)

    def _write_all(self, batch: list[tuple[Job, Outcome]]) -> None:
        refusal = self._refusal(batch, tries=TRIES_TOGETHER)
        if refusal is not None:
            logger.warning("Outcomes were refused (%s); trying again one by one.", refusal)
            # One of them has a value that the database, or Django, refuses: it must not take the
            # others along, nor the worker.
            for place, (job, outcome) in enumerate(batch):
                batch[place] = job, self._write_alone(job, outcome)

    def gather(self) -> list[tuple[Job, Outcome]]:
        """Move what has gathered to what is being written, and return that list.

        It is the acknowledger's own: `flush`, or the caller and then `settle`, work on it.
        """
        since_asked = clock.monotonic() - self._asked_for_locks_at
        if self._locked and since_asked >= LOCKED_INTERVAL_SECONDS:
            self._unwritten += self._locked
            self._locked = []
            self._leave_locked()
        while self._gathered and len(self._unwritten) < LARGEST_BATCH:
            self._unwritten.append(self._gathered.popleft())
        return self._unwritten

    def settle(self, batch: list[tuple[Job, Outcome]], lost: set[UUID]) -> list[Job]:
        """All that `gather` has returned was written by the caller, but for what was `lost`."""
        self._note_lost(batch, lost)
        return self._written(batch)

    # Rows that others have locked

    @property
    def locked_jobs(self) -> int:
        """How many have nothing left to do here but to be written, when others let them."""
        return len(self._locked)

    def give_up_locked(self) -> list[Job]:
        """Leave these jobs to be rescued, and to run again; they are returned."""
        jobs = [job for job, _ in self._locked]
        for job, outcome in self._locked:
            logger.error(
                "Job id=%s: somebody else has locked its row, and the worker stops: its outcome, "
                "%s, is not written. The job is given back when the lock goes.",
                job.pk,
                outcome.state.value,
            )
        self._locked = []
        return jobs

    def _leave_locked(self) -> bool:
        """Set those outcomes aside that would have to wait, so that the others need not."""
        self._asked_for_locks_at = clock.monotonic()
        ids = self._engine.locked_by_others([job for job, _ in self._unwritten])
        self._locked += [one for one in self._unwritten if one[0].pk in ids]
        self._unwritten = [one for one in self._unwritten if one[0].pk not in ids]
        for pk in ids - self._told_of_locks:
            logger.warning(
                "Job id=%s: somebody else has locked its row; its outcome is written when that "
                "lock goes.",
                pk,
            )
        self._told_of_locks = {job.pk for job, _ in self._locked}
        return bool(ids)

    def _has_waited(self, error: BaseException) -> bool:
        """Whether there was no answer in time, be it for a lock: no value is refused that way."""
        given_up = self._engine.has_given_up(since=self._sent_at)
        return given_up or self._engine.is_lock_timeout(error)

    def _written(self, batch: list[tuple[Job, Outcome]]) -> list[Job]:
        kept = [one for one in batch if one[0].pk not in self._lost] if self._lost else batch
        ended = [job.pk for job, outcome in kept if outcome.state in FINAL]
        self.finished_jobs += len(ended)
        self._unwritten, self._lost = [], set()
        self._teller.tell(ended)
        return [job for job, _ in batch]

    def _write(self, batch: list[tuple[Job, Outcome]]) -> None:
        now = self._clock.now()
        self._sent_at = clock.monotonic()
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
        self._note_lost(due, lost)

    def _note_lost(self, batch: list[tuple[Job, Outcome]], lost: set[UUID]) -> None:
        self.lost_jobs += len(lost)
        self._lost |= lost
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

    def _refusal(self, batch: list[tuple[Job, Outcome]], *, tries: int) -> Exception | None:
        """Write it: None; or what the database, or Django, refuses it with, after so many tries.

        Raises what an outage raises.
        """
        refusal: Exception | None = None
        for _ in range(tries):
            try:
                self._write(batch)
                return None
            except Exception as error:
                if self._finds_outage(error):
                    raise
                refusal = error
        return refusal

    def _write_alone(self, job: Job, outcome: Outcome) -> Outcome:
        """Write it, or else that the job is FAILED; what was written."""
        refusal = self._refusal([(job, outcome)], tries=TRIES_ALONE)
        if refusal is None:
            return outcome
        logger.error("Job id=%s: its outcome is refused; it is FAILED.", job.pk, exc_info=refusal)
        for failed in (self._refused(job, outcome, refusal), Failed()):
            refusal = self._refusal([(job, failed)], tries=1)
            if refusal is None:
                return failed
            logger.error("Job id=%s: that is refused too.", job.pk, exc_info=refusal)
        return outcome  # of a job that is not held here any more: it goes back, and runs again

    def _finds_outage(self, error: Exception) -> bool:
        """Whether the same outcomes may be taken later: rivals or a database that is away.

        Drivers also call errors operational that a value has caused: a packet that is too large, a
        character that the table cannot hold. Then the database answers all the same. To find that
        out it connects anew, which may take seconds: so it is asked once about each error.
        """
        if isinstance(error, DatabaseError) and self._engine.is_transient(error):
            return True
        if not isinstance(error, (OperationalError, InterfaceError)):
            return False
        self._engine.forget_connection()
        if self._has_waited(error):
            return True
        try:
            self._engine.now()
        except Error:
            return True
        return False

    def _refused(self, job: Job, outcome: Outcome, error: Exception) -> Outcome:
        now = clock.aware_now()
        told = outcome.story
        story = Failure.of(
            error,
            task=told.task if told else job.next_task,
            number=job.attempts,
            started_at=told.started_at if told else now,
            finished_at=now,
        )
        return Failed(story=story.in_ascii())
