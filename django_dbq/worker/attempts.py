"""One attempt at a task, from the hook before it to the hook after it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.db import Error, router

from django_dbq import clock
from django_dbq import settings as dbq_settings
from django_dbq.exceptions import (
    Cancel,
    Fail,
    InvalidDeclaration,
    InvalidJob,
    JobCancelled,
    JobInterrupted,
    JobInterruption,
    JobNotDeclared,
    JobTimeout,
    PoisonJob,
    Snooze,
    TransactionLeftOpen,
    WorkerDied,
    WorkspaceNotJSON,
)
from django_dbq.models import Attempt as Story
from django_dbq.models import Job
from django_dbq.models.job import as_json
from django_dbq.models.workspace import parsed
from django_dbq.rules.callables import function_at
from django_dbq.rules.deaths import are_hooks_deadly, is_poison
from django_dbq.rules.declarations import JobDeclaration
from django_dbq.rules.outcomes import (
    SUCCESS,
    Advanced,
    CalledOff,
    Completed,
    Failed,
    Failure,
    HandedBack,
    Outcome,
    Requeued,
    Retried,
    Snoozed,
    message_of,
    path_of,
)
from django_dbq.rules.retry import as_duration, delay_before_retry
from django_dbq.rules.states import State
from django_dbq.worker.connections import discard_all_but, roll_back_all_but
from django_dbq.worker.logs import log

# What a task or hook may set on its job, besides the workspace, and find saved afterwards.
SAVED_WITH_THE_OUTCOME = ("name", "queue_name", "priority", "run_after")
_values_saved = attrgetter(*SAVED_WITH_THE_OUTCOME)


class Attempt:
    """Runs pre hook, task, failure hook and post hook, in 3.3's order; says what became of it."""

    def __init__(
        self,
        job: Job,
        declaration: JobDeclaration,
        already_open: Set[str],
        interruptible: AbstractContextManager[Any],
    ) -> None:
        self.job = job
        self.declaration = declaration
        self.pk = job.pk
        self.error: BaseException | None = None
        self.delay: timedelta | None = None  # before another attempt, if there is one
        self.started_monotonic = clock.monotonic()
        self.already_open = already_open
        self.interruptible = interruptible
        self.using = job._state.db or router.db_for_write(Job)
        self.before = _values_saved(job)
        self.workspace_before, job.saved_workspace = _workspace_of(job), None
        self.place_before = (job.next_task, job.task_index)

    def run(self) -> Outcome:
        """Never raises; see `worker/executor.py`."""
        try:
            self._judge()
            self._run_task()
        except BaseException as error:  # a worker never dies of a job
            return self._after_error(error)
        return self._after_success()

    def fail(self, error: BaseException) -> Outcome:
        """The attempt cannot begin."""
        return self._after_error(error)

    def _judge(self) -> None:
        """Raise what earlier attempts have earned, in a worker that lived to tell it."""
        job = self.job
        self._find_place()
        if job.crashes and is_poison(job.crashes, most=dbq_settings.current().max_crashes):
            raise PoisonJob(job.crashes, _workers_that_died(job))
        if job.killed_at:
            raise JobTimeout

    def _find_place(self) -> None:
        """Make `next_task` one that is declared: nothing else is ever imported for a row."""
        job = self.job
        if not job.next_task:  # inserted by hand
            job.next_task, job.task_index = self.declaration.tasks[0], 0
        job.task_index = self.declaration.place_of(job.next_task, job.task_index)
        self.place_before = (job.next_task, job.task_index)

    def _run_task(self) -> None:
        job, hook = self.job, self.declaration.pre_task_hook
        try:
            with self.interruptible:
                if hook:
                    function_at(hook)(job)
                function_at(job.next_task)(job)
        except BaseException as error:
            if isinstance(error, JobInterruption) or isinstance(error.__context__, JobInterruption):
                discard_all_but(self.already_open)  # it may have struck in the middle of a query
            raise
        finally:
            roll_back_all_but(self.already_open)
        if not job.is_workspace_unread:
            job.workspace_as_json()
        self._move_on()

    def _move_on(self) -> None:
        """As `Job.update_next_task` does, from where the task has left the job."""
        job = self.job
        declaration = self.declaration if job.name == self.declaration.name else job.declaration
        place = declaration.place_of(job.next_task, job.task_index)
        following = declaration.after(place)
        job.next_task = following or ""
        job.task_index = place + 1 if following else None

    # What became of it

    def _after_success(self) -> Outcome:
        self.job.state = State.READY if self.job.next_task else State.COMPLETE
        self._run_hooks_after()
        return self._outcome()

    def _after_error(self, error: BaseException) -> Outcome:
        if isinstance(error, TransactionLeftOpen) and error.__context__ is not None:
            error = error.__context__  # what the task raised tells more than what it left behind
        self.finished_at = clock.aware_now()
        self.duration = timedelta(seconds=clock.monotonic() - self.started_monotonic)
        self.job.pk = self.pk
        self.job.next_task, self.job.task_index = self.place_before
        if isinstance(error, (JobInterrupted, JobCancelled, Cancel, Snooze)):
            return self._after_no_failure(error)
        self.error = error
        self.delay = self._delay_before_retry(error)
        if self.delay is not None and self._is_called_off():
            return self._called_off_after(error)
        self.job.state = State.FAILED if self.delay is None else State.READY
        self._log_failure(error)
        if self.delay is not None:
            self._forget_what_the_task_changed()
        self._run_hooks_after()
        return self._outcome()

    def _called_off_after(self, error: BaseException) -> Outcome:
        """It failed, and somebody has cancelled the other attempt that would follow."""
        self.error = self.delay = None
        self._log_failure(error)
        self._run_hooks_after()
        return CalledOff(story=self._story(error))

    def _after_no_failure(self, error: BaseException) -> Outcome:
        """The task ended early, and that is no failure of its."""
        if isinstance(error, Snooze):
            try:
                after, due = _pause_of(error)
            except ValueError as refusal:
                return self._after_error(InvalidJob("Snooze", str(refusal)))
        self._run_hooks_after()
        if isinstance(error, JobInterrupted):
            return HandedBack(is_started=True)
        changes = self._changes()
        if isinstance(error, Cancel):
            return CalledOff({**changes, "cancel_reason": str(error)})
        if isinstance(error, JobCancelled) or self._is_called_off():
            return CalledOff(changes)
        return Snoozed(changes, attempts=self.job.attempts - 1, after=after, until=due)

    def _is_called_off(self) -> bool:
        """Whether somebody cancelled the job meanwhile, who need not wait until it is due again."""
        with contextlib.suppress(Error, Job.DoesNotExist):
            return self.job.cancel_requested
        return False

    def _delay_before_retry(self, error: BaseException) -> timedelta | None:
        if isinstance(error, (Fail, PoisonJob)):
            return None
        try:
            return delay_before_retry(self.declaration.retry, self.job, error, self.job.attempts)
        except BaseException:
            log(logging.ERROR, "Job id=%s: its `retry` raised.", self.pk, exc_info=True)
            return None

    def _forget_what_the_task_changed(self) -> None:
        """The next attempt starts where this one did; a retry hook may change that."""
        for name, value in zip(SAVED_WITH_THE_OUTCOME, self.before):
            setattr(self.job, name, value)
        if self._workspace_in_row is not None:
            self.job.unread_workspace(self._workspace_in_row)

    def _log_failure(self, error: BaseException) -> None:
        wait = "" if self.delay is None else f"; next try in {self.delay.total_seconds():.1f} s"
        log(
            logging.ERROR if self.delay is None else logging.WARNING,
            'Job failed: name="%s" id=%s queue="%s" task=%s attempt=%d: %s: %s%s',
            self.job.name,
            self.job.pk,
            self.job.queue_name,
            self.job.next_task,
            self.job.attempts,
            type(error).__name__,
            message_of(error),
            wait,
            exc_info=error,
        )

    def _run_hooks_after(self) -> None:
        self.job.pk = self.pk  # a task that deletes its own job takes the instance's id away
        hooks, crashes = self._hooks, self.job.crashes
        if not hooks:
            return
        if crashes and are_hooks_deadly(crashes, most=dbq_settings.current().max_crashes):
            return
        if self.error is not None:
            if self.delay is None and "failure_hook" in hooks:
                self._run_guarded(self.job.run_failure_hook, self.error)
            if self.delay is not None and "retry_hook" in hooks:
                self._run_guarded(self.job.run_retry_hook, self.error)
        if "post_task_hook" in hooks:
            self._run_guarded(self.job.run_post_task_hook)
        self.job.pk = self.pk

    @property
    def _hooks(self) -> Mapping[str, str]:
        if self.job.name == self.declaration.name:
            return self.declaration.hooks
        try:
            return self.job.declaration.hooks  # the task has given the job another name
        except (JobNotDeclared, InvalidDeclaration):
            return {}

    def _run_guarded(self, hook: Callable[..., None], *args: object) -> None:
        """Hooks that run after the task: one that raises is logged and changes no outcome."""
        try:
            try:
                with self._savepoint():
                    hook(*args)
            finally:
                roll_back_all_but(self.already_open)
        except BaseException:
            log(logging.ERROR, "Job id=%s: %s raised.", self.job.pk, hook.__name__, exc_info=True)

    def _savepoint(self) -> AbstractContextManager[Any]:
        """What keeps a hook's database errors from breaking a transaction around the task."""
        return nullcontext()

    def _outcome(self) -> Outcome:
        """The outcome, from the state in which the hooks left the job: 3.3 saved that one."""
        job, changes = self.job, self._changes()
        if self.error is None:
            if job.state in (State.READY, State.NEW):
                return Advanced(changes, next_task=job.next_task, task_index=job.task_index)
            if job.state == State.COMPLETE:
                return Completed(changes) if changes else SUCCESS
            return Failed(changes)
        story = None if job.killed_at else self._story(self.error)  # that was told when it died
        changes.update(self._moved())
        if job.killed_at:
            changes["killed_at"] = None
        if job.state in (State.READY, State.NEW):
            if self.delay is None:
                return Requeued({**changes, "crashes": 0}, story=story)
            return Retried(changes, story=story, after=self.delay)
        if job.state == State.COMPLETE:
            return Completed(changes)
        return Failed(changes, story=story)

    def _changes(self) -> dict[str, Any]:
        job, changes, values = self.job, {}, _values_saved(self.job)
        if values != self.before:
            compared = zip(SAVED_WITH_THE_OUTCOME, values, self.before)
            changes = {name: value for name, value, before in compared if value != before}
        if job.is_workspace_unread:
            return changes
        try:
            if not self._is_in_row(job.workspace_as_json()):
                changes["workspace"] = job.workspace
        except WorkspaceNotJSON as error:
            # The task is FAILED for it already, or a hook did it: the last good one stays.
            log(logging.ERROR, "Job id=%s: its workspace was not saved. %s", job.pk, error)
        return changes

    @property
    def _workspace_in_row(self) -> str | None:
        return self.job.saved_workspace or self.workspace_before

    def _is_in_row(self, workspace: str) -> bool:
        """Whether the row has this text, or one that databases write in another way."""
        in_row = self._workspace_in_row
        if in_row is None or workspace == in_row:
            return in_row is not None
        try:
            return workspace == as_json(parsed(in_row))
        except (ValueError, RecursionError):  # SQL has put there what JSON cannot express
            return False

    def _moved(self) -> dict[str, Any]:
        place = (self.job.next_task, self.job.task_index)
        return {} if place == self.place_before else dict(zip(("next_task", "task_index"), place))

    def _story(self, error: BaseException) -> Failure:
        return Failure.of(
            error,
            task=self.place_before[0],
            number=self.job.attempts,
            started_at=self.finished_at - self.duration,
            finished_at=self.finished_at,
        )


def _workspace_of(job: Job) -> str | None:
    """The workspace as text; None for one that SQL has put there and JSON cannot express."""
    if job.is_workspace_unread:
        return job.workspace_in_row
    job.workspace = {} if job.workspace is None else job.workspace
    try:
        return job.workspace_as_json()
    except WorkspaceNotJSON:
        return None


def _pause_of(snooze: Snooze) -> tuple[timedelta | None, datetime | None]:
    """For how long, or until when; raises ValueError when it is no time."""
    if snooze.until is None:
        return as_duration(snooze.for_), None
    if not isinstance(snooze.until, datetime):
        raise ValueError(f"{snooze.until!r} is no datetime.")
    if settings.USE_TZ and snooze.until.tzinfo is None:
        raise ValueError(f"{snooze.until!r} has no time zone.")
    return None, snooze.until


def _workers_that_died(job: Job) -> list[str]:
    deaths = Story.objects.using(job._state.db).filter(
        job_id=job.pk, exception=path_of(WorkerDied), task=job.next_task
    )
    latest = deaths.order_by("-pk").values_list("worker", flat=True)[: job.crashes]
    return list(dict.fromkeys(reversed(latest)))
