"""The engine's verbs as values: each can be done to a database, and to what is expected of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from django_dbq import engines, queue
from django_dbq.engines import Engine
from django_dbq.exceptions import WrongState
from django_dbq.models import Attempt, Job, WorkerProcess
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import Outcome
from tests.model.expected import WAITING, ExpectedJob, ExpectedQueue


class Step:
    """`do` it and get an answer; then ask whether that `could_be` the answer.

    `locked` are jobs that somebody else had locked at the time: a verb that steps over such jobs
    may have left them out, and a claim may then have taken others.
    """

    def do(self, engine: Engine) -> Any:
        raise NotImplementedError

    def could_be(self, answer: Any, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        """Also makes its changes to `expected`."""
        raise NotImplementedError

    def late(self, expected: ExpectedQueue) -> set[UUID]:
        """The jobs that are not the sender's any more: not one column of theirs may change."""
        return set()


@dataclass
class Claim(Step):
    worker: int
    limit: int
    now: datetime

    def do(self, engine: Engine) -> list[Job]:
        return engine.claim(
            engines.Claim(["default"], limit=self.limit, worker_id=self.worker, now=self.now)
        )

    def could_be(self, answer: list[Job], expected: ExpectedQueue, locked: set[UUID]) -> bool:
        best, claimed = expected.best(self.now), [job.pk for job in answer]
        if not set(claimed) <= set(best):
            return False
        if claimed != [pk for pk in best if pk not in locked][: self.limit]:
            return False
        for job in answer:
            expected.claim(job.pk, self.worker)
            now_there = expected.jobs[job.pk]
            if (job.token, job.attempts) != (now_there.token, now_there.attempts):
                return False
        return True


@dataclass
class Acknowledge(Step):
    finished: list[tuple[Job, Outcome]]
    now: datetime

    def do(self, engine: Engine) -> set[UUID]:
        return engine.acknowledge(self.finished, now=self.now, worker="host:1")

    def could_be(self, answer: set[UUID], expected: ExpectedQueue, locked: set[UUID]) -> bool:
        lost = {
            job.pk
            for job, outcome in self.finished
            if not expected.acknowledge(job.pk, job.token, job.worker_id, outcome, self.now)
        }
        return answer == lost

    def late(self, expected: ExpectedQueue) -> set[UUID]:
        return late_of([job for job, _ in self.finished], expected)


@dataclass
class HandBack(Step):
    job: Job
    is_started: bool
    now: datetime

    def do(self, engine: Engine) -> int:
        return engine.hand_back([self.job], now=self.now, are_started=self.is_started)

    def could_be(self, answer: int, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        is_held = expected.is_held(self.job.pk, self.job.token, self.job.worker_id)
        if is_held:
            expected.give_back(self.job.pk, has_begun=self.is_started)
        return answer == is_held

    def late(self, expected: ExpectedQueue) -> set[UUID]:
        return late_of([self.job], expected)


@dataclass
class HandBackUnknown(Step):
    worker: int
    known: Collection[UUID]
    now: datetime

    def do(self, engine: Engine) -> int:
        return engine.hand_back_unknown(self.worker, known=self.known, now=self.now)

    def could_be(self, answer: int, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        unknown = set(expected.held_by(self.worker)) - set(self.known) - locked
        for pk in unknown:
            expected.give_back(pk, has_begun=expected.jobs[pk].state == "STOPPING")
        return answer == len(unknown)


@dataclass
class MarkStopping(Step):
    job: Job
    now: datetime

    def do(self, engine: Engine) -> None:
        engine.mark_stopping([self.job], now=self.now)

    def could_be(self, answer: None, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        if expected.is_held(self.job.pk, self.job.token, self.job.worker_id):
            held = expected.jobs[self.job.pk]
            held.state, held.has_begun = "STOPPING", True
        return True

    def late(self, expected: ExpectedQueue) -> set[UUID]:
        return late_of([self.job], expected)


@dataclass
class Rescue(Step):
    worker: int
    death: Death
    now: datetime

    def do(self, engine: Engine) -> int:
        return engine.rescue(self.worker, self.death, now=self.now)

    def could_be(self, answer: int, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        return answer == expected.rescue(self.worker, self.death, locked)


@dataclass
class Cancel(Step):
    pk: UUID

    def do(self, engine: Engine) -> str | None:
        try:
            return str(queue.cancel(self.pk, "by the model"))
        except Job.DoesNotExist:
            return None

    def could_be(self, answer: str | None, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        if self.pk not in expected.jobs:
            return answer is None
        expected.cancel(self.pk)
        return answer is not None


@dataclass
class Rerun(Step):
    pk: UUID

    def do(self, engine: Engine) -> bool | None:
        try:
            queue.rerun(self.pk)
        except Job.DoesNotExist:
            return None
        except WrongState:
            return False
        return True

    def could_be(self, answer: bool | None, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        return answer == (expected.rerun(self.pk) if self.pk in expected.jobs else None)


@dataclass
class Prune(Step):
    limit: int

    def do(self, engine: Engine) -> int:
        tomorrow = timezone.now() + timedelta(days=1)  # of `created`, which is this host's time
        return engine.jobs.sweep(created_before=tomorrow).delete_next(self.limit)

    def could_be(self, answer: int, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        return answer == expected.prune(self.limit)


@dataclass
class ClaimBy33(Step):
    """A worker of 3.3 takes a job: it knows neither tokens nor owners."""

    pk: UUID

    def do(self, engine: Engine) -> int:
        waiting = Job.objects.filter(pk=self.pk, state__in=["NEW", "READY"])
        return waiting.update(state="PROCESSING")

    def could_be(self, answer: int, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        job = expected.jobs.get(self.pk)
        is_waiting = job is not None and job.state in WAITING
        if job is not None and is_waiting:
            job.state = "PROCESSING"
        return answer == is_waiting


@dataclass
class RequeueOrphan(Step):
    pk: UUID
    now: datetime

    def do(self, engine: Engine) -> int:
        return engine.requeue_orphans([self.pk], now=self.now)

    def could_be(self, answer: int, expected: ExpectedQueue, locked: set[UUID]) -> bool:
        is_orphan = self.pk in expected.held_by(None)
        if is_orphan:
            expected.give_back(self.pk, has_begun=True, attempts=0)
        return answer == is_orphan


# What is there


def late_of(jobs: list[Job], expected: ExpectedQueue) -> set[UUID]:
    return {job.pk for job in jobs if not expected.is_held(job.pk, job.token, job.worker_id)}


def all_columns(ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    return {row["id"]: row for row in Job.objects.filter(pk__in=ids).values()}


def rows(known: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """The facts of each row, as ExpectedJob.facts() has them."""
    stories: dict[UUID, list[int]] = {pk: [] for pk in known}
    for job_id, number in Attempt.objects.values_list("job_id", "number"):
        stories[job_id].append(number)  # a KeyError: a story of a job that never was
    return {
        job.pk: ExpectedJob(
            priority=job.priority,
            run_after=job.run_after,
            state=str(job.state),
            token=job.token,
            attempts=job.attempts,
            crashes=job.crashes,
            place=job.task_index,
            worker=job.worker_id,
            is_started=job.started_at is not None,
            is_killed=job.killed_at is not None,
            is_called_off=job.cancel_requested_at is not None,
            stories=stories[job.pk],
        ).facts()
        for job in Job.objects.all()
    }


def differences(expected: ExpectedQueue, known: Collection[UUID]) -> dict[Any, Any]:
    """What is not as expected: {what: (expected, found)}."""
    wanted = {pk: job.facts() for pk, job in expected.jobs.items()}
    found = rows(known)
    different = {
        pk: (wanted.get(pk), found.get(pk))
        for pk in {*wanted, *found}
        if wanted.get(pk) != found.get(pk)
    }
    workers = dict(WorkerProcess.objects.values_list("pk", "last_seen"))
    if workers != expected.last_seen:
        different["workers"] = (expected.last_seen, workers)
    orphaned = set(Attempt.objects.values_list("job_id", flat=True)) - set(found)
    if orphaned:
        different["stories of deleted jobs"] = (set(), orphaned)
    return different
