"""What the engine's verbs promise, in memory. The database is compared with this after each step.

Written from the promises and not from the statements: it knows nothing of SQL, and has its own idea
of who holds a job and of who is to blame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import (
    Advanced,
    CalledOff,
    Completed,
    Crashed,
    Failed,
    Outcome,
    Requeued,
    Retried,
    Snoozed,
)

WAITING, HELD = {"NEW", "READY"}, {"PROCESSING", "STOPPING"}
FINAL = {"COMPLETE", "FAILED", "CANCELLED"}

ENDS_AS = {
    Completed: "COMPLETE",
    Failed: "FAILED",
    CalledOff: "CANCELLED",
    **dict.fromkeys((Advanced, Requeued, Retried, Snoozed, Crashed), "READY"),
}


@dataclass
class ExpectedJob:
    priority: int
    run_after: datetime | None
    state: str = "NEW"
    token: int = 0
    attempts: int = 0
    crashes: int = 0
    place: int | None = 0
    worker: int | None = None
    is_started: bool = False  # some worker has it, or had it and ran it
    has_begun: bool = False  # as far as anybody has told the database
    is_killed: bool = False
    is_called_off: bool = False
    stories: list[int] = field(default_factory=list)  # numbers of attempts

    def facts(self) -> dict[str, Any]:
        facts = dict(vars(self), stories=sorted(self.stories))
        del facts["has_begun"]
        return facts


@dataclass
class ExpectedQueue:
    jobs: dict[UUID, ExpectedJob] = field(default_factory=dict)  # oldest first
    threads: dict[int, int] = field(default_factory=dict)  # of each registered worker
    last_seen: dict[int, datetime] = field(default_factory=dict)

    def held_by(self, worker: int | None) -> list[UUID]:
        return [pk for pk, job in self.jobs.items() if job.state in HELD and job.worker == worker]

    def is_held(self, pk: UUID, token: int, worker: int | None) -> bool:
        return pk in self.held_by(worker) and self.jobs[pk].token == token

    def best(self, now: datetime) -> list[UUID]:
        due = [
            pk
            for pk, job in self.jobs.items()
            if job.state in WAITING and (job.run_after is None or job.run_after <= now)
        ]
        return sorted(due, key=lambda pk: -self.jobs[pk].priority)

    def fallen_due(self, now: datetime) -> set[UUID]:
        """Those of the best that were scheduled."""
        return {pk for pk in self.best(now) if self.jobs[pk].run_after is not None}

    def claim(self, pk: UUID, worker: int) -> None:
        job = self.jobs[pk]
        job.state, job.worker, job.is_started = "PROCESSING", worker, True
        job.token += 1
        job.attempts += 1

    def acknowledge(
        self, pk: UUID, token: int, worker: int, outcome: Outcome, now: datetime
    ) -> bool:
        """Whether the caller is not told of a loss."""
        job, state = self.jobs.get(pk), ENDS_AS[type(outcome)]
        if not self.is_held(pk, token, worker):
            return job is not None and (job.token, job.state) == (token, state)  # sent again
        job.state, job.has_begun = state, True
        job.worker = None if state == "READY" else worker
        if isinstance(outcome, Completed):
            job.place = None
        if isinstance(outcome, Advanced):
            job.place, job.attempts, job.crashes = outcome.task_index, 0, 0
        if isinstance(outcome, Crashed):
            job.crashes += 1
        if isinstance(outcome, (Crashed, Snoozed)):
            job.attempts -= 1
        if isinstance(outcome, (Crashed, Retried, Snoozed)):
            job.run_after = outcome.until if outcome.after is None else now + outcome.after
        if outcome.story:
            job.stories.append(outcome.story.number)
        return True

    def give_back(self, pk: UUID, *, has_begun: bool, attempts: int = 1) -> None:
        job = self.jobs[pk]
        job.has_begun = job.has_begun or has_begun
        job.state = "READY" if job.has_begun else "NEW"
        job.is_started = job.is_started and job.has_begun
        job.worker = None
        job.token += 1
        job.attempts -= attempts

    def rescue(self, worker: int, death: Death, locked: set[UUID]) -> int:
        held = [pk for pk in self.held_by(worker) if pk not in locked]
        ran = death.was_running
        if ran is None:
            ran = frozenset(held) if len(held) <= self.threads.get(worker, 1) else frozenset()
        for pk in held:
            job = self.jobs[pk]
            overran, was_stopping = pk in death.overran, job.state == "STOPPING"
            crashed = not overran and death.is_crash and pk in ran and not was_stopping
            if overran or crashed:
                job.stories.append(job.attempts)
            job.is_killed = job.is_killed or overran
            job.crashes += crashed
            self.give_back(pk, has_begun=overran or was_stopping or pk in ran)
        self.threads.pop(worker, None)
        self.last_seen.pop(worker, None)
        return len(held)

    def cancel(self, pk: UUID) -> None:
        job = self.jobs[pk]
        job.is_called_off = job.is_called_off or job.state not in FINAL
        if job.state in WAITING:
            job.state = "CANCELLED"
            job.token += 1

    def rerun(self, pk: UUID) -> bool:
        job = self.jobs[pk]
        if job.state not in FINAL:
            return False
        job.state, job.place, job.has_begun = "READY", job.place or 0, True
        job.run_after = job.worker = None
        job.attempts = job.crashes = 0
        job.is_killed = job.is_called_off = False
        job.token += 1
        return True

    def prune(self, limit: int) -> int:
        gone = [
            pk
            for pk, job in list(self.jobs.items())[:limit]
            if job.state in FINAL or (job.state == "STOPPING" and job.worker not in self.threads)
        ]
        for pk in gone:
            del self.jobs[pk]
        return len(gone)
