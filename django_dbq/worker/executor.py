"""Run one task of one job with its hooks, and say what became of it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import DatabaseError, Error, InterfaceError, connections, router, transaction

from django_dbq import clock
from django_dbq import settings as dbq_settings
from django_dbq.engines import engine_for
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
    LeaseLost,
    PoisonJob,
    Snooze,
    TaskNotDeclared,
    TransactionLeftOpen,
    WorkerDied,
    WorkspaceNotJSON,
)
from django_dbq.models import Attempt, Job
from django_dbq.rules.deaths import are_hooks_deadly, is_poison
from django_dbq.rules.outcomes import (
    Advanced,
    CalledOff,
    Completed,
    Declined,
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

logger = logging.getLogger("django_dbq.worker")

# What a task or hook may set on its job, besides the workspace, and find saved afterwards.
SAVED_WITH_THE_OUTCOME = ("name", "queue_name", "priority", "run_after")


def perform(
    job: Job,
    *,
    already_open: Set[str] = frozenset(),
    interruptible: AbstractContextManager[Any] | None = None,
) -> Outcome:
    """One attempt at the job's next task, in 3.3's order: pre hook, task, failure hook, post hook.

    Never raises: whatever the task raises, `SystemExit` and its like included, is its outcome.
    `already_open` are the aliases on which the caller is in a transaction; any other one that is
    open after the task is rolled back. Only inside `interruptible` may an interruption be raised.
    The success of an `atomic` task is written here, in the task's own transaction.
    """
    if job.cancel_requested_at:
        _log(logging.INFO, 'Job cancelled: name="%s" id=%s', job.name, job.pk)
        return CalledOff()
    try:
        job.declaration.place_of(job.next_task or job.declaration.tasks[0], job.task_index)
    except (JobNotDeclared, TaskNotDeclared) as error:
        _log(logging.WARNING, "Job id=%s is left to another worker: %s", job.pk, error)
        return Declined(task=job.next_task if isinstance(error, TaskNotDeclared) else "")
    except InvalidDeclaration:
        pass  # told by the attempt
    return _Attempt(job, already_open, interruptible or nullcontext()).run()


def _log(level: int, message: str, *args: object, exc_info: Any = None) -> None:
    """Log it; a log that is broken (a filter that raises, say) must not cost a job its outcome."""
    with contextlib.suppress(Exception):
        logger.log(level, message, *args, exc_info=exc_info)


class _Attempt:
    def __init__(
        self,
        job: Job,
        already_open: Set[str],
        interruptible: AbstractContextManager[Any],
    ) -> None:
        self.job = job
        self.pk = job.pk
        self.error: BaseException | None = None
        self.delay: timedelta | None = None  # before another attempt, if there is one
        self.started_monotonic = clock.monotonic()
        self.already_open = already_open
        self.interruptible = interruptible
        self.using = job._state.db or router.db_for_write(Job)
        self.is_in_transaction = False
        job.workspace = {} if job.workspace is None else job.workspace
        self.before = {name: getattr(job, name) for name in SAVED_WITH_THE_OUTCOME}
        self.workspace_before, job.saved_workspace = _as_json(job), None
        self.place_before = (job.next_task, job.task_index)

    def run(self) -> Outcome:
        outcome = self._run_atomically() if self._is_atomic else self._run()
        self._log_outcome(outcome)
        return outcome

    def _run(self) -> Outcome:
        try:
            self._judge()
            self._run_task()
        except BaseException as error:  # a worker never dies of a job
            return self._after_error(error)
        return self._after_success()

    def _run_atomically(self) -> Outcome:
        """The task and the record of its success are one transaction: both happen, or neither."""
        using, engine = self.using, engine_for(self.using)
        task_raised: BaseException | None = None
        session = object()  # none as long as the transaction has not begun
        committed: list[bool] = []
        outside, self.already_open = self.already_open, self.already_open | {using}
        self.is_in_transaction = True
        try:
            with transaction.atomic(using=using):
                transaction.on_commit(partial(committed.append, True), using=using)
                session = connections[using].connection
                try:
                    self._judge()
                    self._run_task()
                    if connections[using].closed_in_transaction:
                        raise InterfaceError("The task closed the connection of its transaction.")
                    outcome = self._after_success()
                except BaseException as error:
                    task_raised = error
                    raise
                if engine.acknowledge([(self.job, outcome)], now=engine.now()):
                    raise LeaseLost(self.pk)
        except BaseException as error:
            self.already_open, self.is_in_transaction = outside, False
            # The outcome was rolled back, and so was what the task had saved.
            self.job.is_held_here, self.job.saved_workspace = True, None
            roll_back_all_but(outside, quietly=True)  # a broken session leaves Django in a block
            if committed:
                _log(logging.ERROR, "Job id=%s: its on_commit raised.", self.pk, exc_info=error)
                return replace(outcome, is_written=True)
            if task_raised is not None or not self._is_undecided(error, session):
                return self._after_error(task_raised or error)
            # Perhaps the commit has arrived: then the job is not held any more, and the fence keeps
            # it from being given back.
            _log(logging.WARNING, "Job id=%s: not committed, it goes back: %s", self.pk, error)
            return HandedBack(is_started=True)
        return replace(outcome, is_written=True)

    def _is_undecided(self, error: BaseException, session: object) -> bool:
        """Whether a transaction that failed in the end may have arrived all the same, or may arrive
        when it is tried again; a value that the database refuses never will.
        """
        if isinstance(error, (LeaseLost, InterfaceError)):
            return True
        if not isinstance(error, DatabaseError):
            return False
        was_cut_off = connections[self.using].connection is not session
        return was_cut_off or engine_for(self.using).is_transient(error)

    @property
    def _is_atomic(self) -> bool:
        try:
            return self.job.declaration.atomic
        except (JobNotDeclared, InvalidDeclaration):
            return False

    def _judge(self) -> None:
        """Raise what earlier attempts have earned, in a worker that lived to tell it."""
        job = self.job
        self._find_place()
        if job.crashes and is_poison(job.crashes, most=dbq_settings.current().max_crashes):
            raise PoisonJob(job.crashes, _workers_that_died(job))
        if job.killed_at:
            raise JobTimeout

    def _run_task(self) -> None:
        job = self.job
        try:
            with self.interruptible:
                job.run_pre_task_hook()
                job.run_next_task()
        except BaseException as error:
            if isinstance(error, JobInterruption) or isinstance(error.__context__, JobInterruption):
                discard_all_but(self.already_open)  # it may have struck in the middle of a query
            raise
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
            policy = self.job.declaration.retry
        except (JobNotDeclared, InvalidDeclaration):
            return None  # which is what has failed
        try:
            return delay_before_retry(policy, self.job, error, self.job.attempts)
        except BaseException:
            _log(logging.ERROR, "Job id=%s: its `retry` raised.", self.pk, exc_info=True)
            return None

    def _forget_what_the_task_changed(self) -> None:
        """The next attempt starts where this one did; a retry hook may change that."""
        for name, value in self.before.items():
            setattr(self.job, name, value)
        if self._workspace_in_the_row is not None:
            self.job.workspace = json.loads(self._workspace_in_the_row)

    def _log_failure(self, error: BaseException) -> None:
        wait = "" if self.delay is None else f"; next try in {self.delay.total_seconds():.1f} s"
        _log(
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
        crashes = self.job.crashes
        if crashes and are_hooks_deadly(crashes, most=dbq_settings.current().max_crashes):
            return
        try:
            hooks = self.job.declaration.hooks
        except (JobNotDeclared, InvalidDeclaration):
            return  # none are known, and the job has failed for just that
        if self.error is not None:
            if self.delay is None and "failure_hook" in hooks:
                self._run_guarded(self.job.run_failure_hook, self.error)
            if self.delay is not None and "retry_hook" in hooks:
                self._run_guarded(self.job.run_retry_hook, self.error)
        if "post_task_hook" in hooks:
            self._run_guarded(self.job.run_post_task_hook)
        self.job.pk = self.pk  # a task that deletes its own job takes the instance's id away

    def _run_guarded(self, hook: Callable[..., None], *args: object) -> None:
        """Hooks that run after the task: one that raises is logged and changes no outcome."""
        try:
            try:
                with self._savepoint():
                    hook(*args)
            finally:
                roll_back_all_but(self.already_open)
        except BaseException:
            _log(logging.ERROR, "Job id=%s: %s raised.", self.job.pk, hook.__name__, exc_info=True)

    def _savepoint(self) -> AbstractContextManager[Any]:
        """Around a hook inside the task's transaction, which its database errors must not break."""
        if self.is_in_transaction:
            return transaction.atomic(using=self.using)
        return nullcontext()

    def _outcome(self) -> Outcome:
        """The outcome, from the state in which the hooks left the job: 3.3 saved that one."""
        job, changes = self.job, self._changes()
        if self.error is None:
            if job.state in (State.READY, State.NEW):
                return Advanced(changes, next_task=job.next_task, task_index=job.task_index)
            return Completed(changes) if job.state == State.COMPLETE else Failed(changes)
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

    @property
    def _workspace_in_the_row(self) -> str | None:
        return self.job.saved_workspace or self.workspace_before

    def _changes(self) -> dict[str, Any]:
        job = self.job
        changes = {
            name: getattr(job, name)
            for name, value in self.before.items()
            if getattr(job, name) != value
        }
        try:
            if job.workspace_as_json() != self._workspace_in_the_row:
                changes["workspace"] = job.workspace
        except WorkspaceNotJSON as error:
            # The task is FAILED for it already, or a hook did it: the last good one stays.
            _log(logging.ERROR, "Job id=%s: its workspace was not saved. %s", job.pk, error)
        return changes

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


def _pause_of(snooze: Snooze) -> tuple[timedelta | None, datetime | None]:
    """For how long, or until when; raises ValueError when it is no time."""
    if snooze.until is None:
        return as_duration(snooze.for_), None
    if not isinstance(snooze.until, datetime):
        raise ValueError(f"{snooze.until!r} is no datetime.")
    if settings.USE_TZ and snooze.until.tzinfo is None:
        raise ValueError(f"{snooze.until!r} has no time zone.")
    return None, snooze.until


def _as_json(job: Job) -> str | None:
    """The workspace as text; None for one that SQL has put there and JSON cannot express."""
    try:
        return job.workspace_as_json()
    except WorkspaceNotJSON:
        return None


def _workers_that_died(job: Job) -> list[str]:
    deaths = Attempt.objects.using(job._state.db).filter(
        job_id=job.pk, exception=path_of(WorkerDied), task=job.next_task
    )
    latest = deaths.order_by("-pk").values_list("worker", flat=True)[: job.crashes]
    return list(dict.fromkeys(reversed(latest)))
