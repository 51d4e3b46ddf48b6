"""A run in a process of its own, and what becomes of its job when that process does not say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from django_dbq import clock
from django_dbq import settings as dbq_settings
from django_dbq.exceptions import JobInterrupted, WorkerDied
from django_dbq.models import Job
from django_dbq.rules.backoff import pause_after
from django_dbq.rules.deaths import is_poison
from django_dbq.rules.outcomes import Crashed, Failure, Outcome, Snoozed
from django_dbq.worker.interrupts import Interrupted, Interruption
from django_dbq.worker.isolation import (
    GONE_WITHIN_SECONDS,
    Assignment,
    CannotStart,
    ForkServer,
    NotBegun,
    RunProcess,
    Step,
)
from django_dbq.worker.ledger import NEVER, Ledger
from django_dbq.worker.logs import log
from django_dbq.worker.processes import cause_of_death
from django_dbq.worker.runs import Run

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0  # after a crash
LATER = timedelta(seconds=10)  # when a job whose process cannot be started is tried again


class ProcessRun(Run):
    """A run in a process of its own, on behalf of a thread that waits for it."""

    def __init__(self, job: Job, fork_server: ForkServer, ledger: Ledger, slot: int) -> None:
        super().__init__(job)
        self._fork_server = fork_server
        self._ledger, self._slot = ledger, slot
        self._lock = threading.Lock()
        self._process: RunProcess | None = None
        self._interrupted_by: Interruption | None = None
        self._step: Step | None = None
        self._is_killed = False

    def interrupt(self, why: Interruption, *, grace_seconds: float) -> None:
        with self._lock:
            self.timeout_at = NEVER
            if self._step is Step.LEFT:
                return
            self.kill_at = min(self.kill_at, clock.monotonic() + grace_seconds)
            if self._interrupted_by is None:
                self._interrupted_by = why
                if self._process is not None:
                    self._process.send(why)

    def kill(self) -> None:
        with self._lock:
            self.kill_at = NEVER
            if self._step is not Step.LEFT:
                self._is_killed = True
                if self._process is not None:
                    self._process.kill()

    def perform(self, perform: Callable[..., Outcome]) -> Outcome:
        """`perform` is for what is decided here: what becomes of a job whose process we killed."""
        self._ledger.start(self._slot, self.job.pk, elsewhere=True)
        try:
            return self._perform(perform)
        finally:
            self._ledger.end(self._slot)

    def _perform(self, perform: Callable[..., Outcome]) -> Outcome:
        job = self.job
        if self._interrupted_by is not None:
            return self._end(perform)
        try:
            process = self._fork_server.start(Assignment(job._state.db or "", job.pk, job.token))
        except CannotStart as error:
            return self._postponed(str(error))
        said, exit_code = self._follow(process)
        if isinstance(said, Outcome):
            return said
        if self._is_killed:
            return self._end(perform)
        if isinstance(said, NotBegun):
            return self._postponed(said.reason)
        if self._step is None and not self._is_verdict:
            return self._postponed(f"it ended at once, {cause_of_death(exit_code)}")
        return self._crashed(
            f"The task's own process, {process.pid}, died: {cause_of_death(exit_code)}."
        )

    @property
    def _is_verdict(self) -> bool:
        """Whether the task does not run, and only the hooks of a job that is given up do."""
        return is_poison(self.job.crashes, most=dbq_settings.current().max_crashes)

    def _follow(self, process: RunProcess) -> tuple[object, int | None]:
        """What the process says in the end, None if it died before, and its exit code."""
        with self._lock:
            self._process = process
            if self._interrupted_by is not None:
                process.send(self._interrupted_by)
            if self._is_killed:
                process.kill()
        said: object = None
        try:
            said = process.receive()
            while isinstance(said, Step):
                self._note(said)
                said = process.receive()
        finally:
            with self._lock:
                self._process = None  # nobody may kill it any more
            exit_code = process.close(patience_seconds=0.0 if said is None else GONE_WITHIN_SECONDS)
        return said, exit_code

    def _note(self, step: Step) -> None:
        with self._lock:
            self._step = step
            if step is Step.LEFT:  # the hooks that run after a task may take their time
                self.timeout_at = self.kill_at = NEVER
            elif self.timeout_seconds is not None and self._interrupted_by is None:
                self.timeout_at = clock.monotonic() + self.timeout_seconds

    # What becomes of a job whose process did not say

    def _postponed(self, reason: str) -> Outcome:
        log(
            logging.ERROR,
            "Job id=%s goes back for %.0f s: a process of its own cannot be had: %s.",
            self.job.pk,
            LATER.total_seconds(),
            reason,
        )
        return Snoozed(attempts=self.job.attempts - 1, after=LATER)

    def _end(self, perform: Callable[..., Outcome]) -> Outcome:
        """As if the task had let the interruption pass; its story began when its process did."""
        self._ledger.start(self._slot, self.job.pk)  # hooks may run here
        self.job.cancel_requested_at = None  # it is about to be told: it had begun
        why = self._interrupted_by or JobInterrupted
        outcome = perform(self.job, interruptible=Interrupted(why))
        if outcome.story is not None:
            started_at = outcome.story.finished_at - self._age
            return replace(outcome, story=replace(outcome.story, started_at=started_at))
        return outcome

    def _crashed(self, message: str) -> Outcome:
        job = self.job
        log(logging.ERROR, "Job id=%s: %s", job.pk, message)
        finished_at = clock.aware_now()
        story = Failure.of(
            WorkerDied(message),
            task=job.next_task,
            number=job.attempts,
            started_at=finished_at - self._age,
            finished_at=finished_at,
        )
        crashes = job.crashes + 1
        pause = pause_after(crashes, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        return Crashed(
            story=story,
            attempts=job.attempts - 1,
            crashes=crashes,
            after=timedelta(seconds=pause),
        )

    @property
    def _age(self) -> timedelta:
        return timedelta(seconds=clock.monotonic() - self.started_at)
