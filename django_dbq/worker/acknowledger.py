"""Write outcomes down: all that gathered while the last write was under way, in one go."""

from __future__ import annotations

import logging
from collections import deque

from django.db import DatabaseError, OperationalError

from django_dbq import clock
from django_dbq.clock import DatabaseClock
from django_dbq.engines import Engine
from django_dbq.models import Job
from django_dbq.rules.outcomes import Failed, Failure, Outcome

logger = logging.getLogger("django_dbq.worker")

LARGEST_BATCH = 500


class Acknowledger:
    """Takes outcomes from any thread; the loop's thread writes them."""

    def __init__(self, engine: Engine, database_clock: DatabaseClock, *, worker: str) -> None:
        self.finished_jobs = 0  # COMPLETE or FAILED, and written
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
        while self._gathered and len(self._unwritten) < LARGEST_BATCH:
            self._unwritten.append(self._gathered.popleft())
        batch = self._unwritten
        if not batch:
            return []
        try:
            self._write(batch)
        except OperationalError:
            raise
        except DatabaseError:
            # One of them has a value that the database refuses: it must not take the others along.
            for job, outcome in batch:
                self._write_alone(job, outcome)
        self.finished_jobs += sum(
            outcome.transition in ("complete", "fail") for _, outcome in batch
        )
        self._unwritten = []
        return [job for job, _ in batch]

    def _write(self, batch: list[tuple[Job, Outcome]]) -> None:
        lost = self._engine.acknowledge(batch, now=self._clock.now(), worker=self._worker)
        for job, outcome in batch:
            job.is_held_here = False  # type: ignore[misc]
            if job.pk in lost:
                logger.warning(
                    'Job lost: name="%s" id=%s: it was deleted or given to another worker while it '
                    "ran here; its outcome, %s, was not written.",
                    job.name,
                    job.pk,
                    outcome.state.value,
                )

    def _write_alone(self, job: Job, outcome: Outcome) -> None:
        try:
            self._write([(job, outcome)])
        except OperationalError:
            raise
        except DatabaseError as error:
            logger.exception("Job id=%s: the database refuses its outcome; it is FAILED.", job.pk)
            self._write([(job, self._refused(job, outcome, error))])

    def _refused(self, job: Job, outcome: Outcome, error: DatabaseError) -> Outcome:
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
