"""Run one task of one job with its hooks, and say what became of it. Writes nothing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Set
from datetime import timedelta
from typing import Any

from django_dbq import clock
from django_dbq.exceptions import (
    InvalidDeclaration,
    JobNotDeclared,
    TransactionLeftOpen,
    WorkspaceNotJSON,
)
from django_dbq.models import Job
from django_dbq.rules.outcomes import (
    Advanced,
    Completed,
    Failed,
    Failure,
    Outcome,
    Requeued,
    message_of,
)
from django_dbq.rules.states import State
from django_dbq.worker.connections import roll_back_all_but

logger = logging.getLogger("django_dbq.worker")

# What a task or hook may set on its job, besides the workspace, and find saved afterwards.
SAVED_WITH_THE_OUTCOME = ("name", "queue_name", "priority", "run_after")


def perform(job: Job, *, already_open: Set[str] = frozenset()) -> Outcome:
    """One attempt at the job's next task, in 3.3's order: pre hook, task, failure hook, post hook.

    Never raises: whatever the task raises, `SystemExit` and its like included, is its outcome.
    `already_open` are the aliases on which the caller is in a transaction; any other one that is
    open after the task is rolled back.
    """
    return _Attempt(job, already_open).run()


def _log(level: int, message: str, *args: object, exc_info: Any = None) -> None:
    """Log it; a log that is broken (a filter that raises, say) must not cost a job its outcome."""
    with contextlib.suppress(Exception):
        logger.log(level, message, *args, exc_info=exc_info)


class _Attempt:
    def __init__(self, job: Job, already_open: Set[str]) -> None:
        self.job = job
        self.pk = job.pk
        self.error: BaseException | None = None
        self.started_monotonic = clock.monotonic()
        self.already_open = already_open
        job.workspace = {} if job.workspace is None else job.workspace
        self.before = {name: getattr(job, name) for name in SAVED_WITH_THE_OUTCOME}
        self.workspace_before = _as_json(job)
        self.place_before = (job.next_task, job.task_index)

    def run(self) -> Outcome:
        try:
            self._run_task()
        except BaseException as error:  # a worker never dies of a job
            self._note_failure(error)
        else:
            self.job.state = State.READY if self.job.next_task else State.COMPLETE
        self._run_later_hooks()
        self.job.pk = self.pk  # a task that deletes its own job takes the instance's id away
        outcome = self._outcome()
        self._log_outcome(outcome)
        return outcome

    def _run_task(self) -> None:
        job = self.job
        self._find_place()
        try:
            job.run_pre_task_hook()
            job.run_next_task()
        finally:
            roll_back_all_but(self.already_open)
        job.workspace_as_json()
        job.update_next_task()

    def _find_place(self) -> None:
        """Make `next_task` one that is declared: nothing else is ever imported for a row."""
        job, declaration = self.job, self.job.declaration
        if not job.next_task:  # inserted by hand
            job.next_task, job.task_index = declaration.tasks[0], 0
        job.task_index = declaration.place_of(job.next_task, job.task_index)
        self.place_before = (job.next_task, job.task_index)

    def _note_failure(self, error: BaseException) -> None:
        if isinstance(error, TransactionLeftOpen) and error.__context__ is not None:
            error = error.__context__  # what the task raised tells more than what it left behind
        self.error = error
        self.finished_at = clock.aware_now()
        self.duration = timedelta(seconds=clock.monotonic() - self.started_monotonic)
        self.job.state = State.FAILED
        self.job.next_task, self.job.task_index = self.place_before
        _log(
            logging.ERROR,
            'Job failed: name="%s" id=%s queue="%s" task=%s: %s: %s',
            self.job.name,
            self.job.pk,
            self.job.queue_name,
            self.job.next_task,
            type(error).__name__,
            message_of(error),
            exc_info=error,
        )

    def _run_later_hooks(self) -> None:
        try:
            hooks = self.job.declaration.hooks
        except (JobNotDeclared, InvalidDeclaration):
            return  # none are known, and the job has failed for just that
        if self.error is not None and "failure_hook" in hooks:
            self._run_guarded(self.job.run_failure_hook, self.error)
        if "post_task_hook" in hooks:
            self._run_guarded(self.job.run_post_task_hook)

    def _run_guarded(self, hook: Callable[..., None], *args: object) -> None:
        """Hooks that run after the task: one that raises is logged and changes no outcome."""
        try:
            try:
                hook(*args)
            finally:
                roll_back_all_but(self.already_open)
        except BaseException:
            _log(logging.ERROR, "Job id=%s: %s raised.", self.job.pk, hook.__name__, exc_info=True)

    def _outcome(self) -> Outcome:
        """The outcome, from the state in which the hooks left the job: 3.3 saved that one."""
        job, changes = self.job, self._changes()
        if job.state in (State.READY, State.NEW):
            if self.error is None:
                return Advanced(changes, next_task=job.next_task, task_index=job.task_index)
            return Requeued({**changes, **self._moved()}, story=self._story(self.error))
        if job.state == State.COMPLETE:
            return Completed(changes)
        return Failed({**changes, **self._moved()}, story=self._story(self.error))

    def _changes(self) -> dict[str, Any]:
        job = self.job
        changes = {
            name: getattr(job, name)
            for name, value in self.before.items()
            if getattr(job, name) != value
        }
        try:
            if job.workspace_as_json() != self.workspace_before:
                changes["workspace"] = job.workspace
        except WorkspaceNotJSON as error:
            # The task is FAILED for it already, or a hook did it: the last good one stays.
            _log(logging.ERROR, "Job id=%s: its workspace was not saved. %s", job.pk, error)
        return changes

    def _moved(self) -> dict[str, Any]:
        place = (self.job.next_task, self.job.task_index)
        return {} if place == self.place_before else dict(zip(("next_task", "task_index"), place))

    def _story(self, error: BaseException | None) -> Failure | None:
        if error is None:
            return None
        return Failure.of(
            error,
            task=self.place_before[0],
            number=self.job.attempts,
            started_at=self.finished_at - self.duration,
            finished_at=self.finished_at,
        )

    def _log_outcome(self, outcome: Outcome) -> None:
        _log(
            logging.INFO,
            'Job done: name="%s" id=%s queue="%s" task=%s duration=%.3fs outcome=%s',
            self.job.name,
            self.job.pk,
            self.job.queue_name,
            self.place_before[0],
            clock.monotonic() - self.started_monotonic,
            outcome.state.value,
        )


def _as_json(job: Job) -> str | None:
    """The workspace as text; None for one that SQL has put there and JSON cannot express."""
    try:
        return job.workspace_as_json()
    except WorkspaceNotJSON:
        return None
