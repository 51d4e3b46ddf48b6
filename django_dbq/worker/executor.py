"""Run one task of one job with its hooks, and say what became of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from contextlib import AbstractContextManager
from typing import Any

from django_dbq import clock
from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared, TaskNotDeclared
from django_dbq.models import Job
from django_dbq.rules.declarations import JobDeclaration, cannot_be_atomic
from django_dbq.rules.outcomes import CalledOff, Declined, HandedBack, Outcome
from django_dbq.worker.async_attempts import AsyncAttempt
from django_dbq.worker.atomic import AtomicAttempt
from django_dbq.worker.attempts import TaskAttempt
from django_dbq.worker.logs import DONE, log


class Moved(HandedBack):
    """Nothing was run: the task is async, and is for the event loop of the worker."""


def perform(
    job: Job,
    *,
    already_open: Set[str] = frozenset(),
    interruptible: AbstractContextManager[Any] | None = None,
    failed: Callable[[BaseException], None] | None = None,
    leave_async: bool = False,
) -> Outcome:
    """One attempt at the job's next task, in 3.3's order: pre hook, task, failure hook, post hook.

    Never raises: whatever the task raises, `SystemExit` and its like included, is its outcome.
    `already_open` are the aliases on which the caller is in a transaction; any other one that is
    open after the task is rolled back. Only inside `interruptible` may an interruption be raised.
    `failed` is told the error of an attempt that fails. The success of an `atomic` task is written
    here, in the task's own transaction. With `leave_async` an async task does not run here, and the
    outcome is `Moved`.
    """
    attempt = _attempt_at(job, already_open, interruptible, TaskAttempt, failed)
    if isinstance(attempt, Outcome):
        return attempt
    if leave_async and attempt.call.is_async and may_be_awaited(job, attempt.declaration):
        return Moved()
    outcome = attempt.notify_of_success(attempt.run())
    if DONE.take_a_line():
        _log_done(attempt, outcome)
    return outcome


async def perform_async(job: Job, *, interruptible: AbstractContextManager[Any]) -> Outcome:
    """The same of an async task, on the event loop that runs."""
    attempt = _attempt_at(job, frozenset(), interruptible, AsyncAttempt)
    if isinstance(attempt, Outcome):
        return attempt
    if not isinstance(attempt, AsyncAttempt):
        return HandedBack()  # it was declared anew at this moment
    outcome = await attempt.run_async()
    if DONE.take_a_line():
        _log_done(attempt, outcome)
    return outcome


def may_be_awaited(job: Job, declaration: JobDeclaration) -> bool:
    """Whether an async task of this job is for the event loop.

    Else it is for a thread, which knows of processes, of what is declared wrong, and of attempts
    that are perhaps none, but a verdict on earlier ones.
    """
    is_marked = job.cancel_requested_at or job.killed_at or job.crashes
    return not is_marked and declaration.isolation == "thread" and not declaration.atomic


def _attempt_at(
    job: Job,
    already_open: Set[str],
    interruptible: AbstractContextManager[Any] | None,
    kind: type[TaskAttempt],
    failed: Callable[[BaseException], None] | None = None,
) -> TaskAttempt | Outcome:
    """What is to be run; or what becomes of the job without that."""
    if job.cancel_requested_at:
        log(logging.INFO, 'Job cancelled: name="%s" id=%s', job.name, job.pk)
        return CalledOff()
    try:
        declaration = job.declaration
        _find_place(job, declaration)
    except (JobNotDeclared, TaskNotDeclared) as error:
        log(logging.WARNING, "Job id=%s is left to another worker: %s", job.pk, error)
        return Declined(task=job.next_task if isinstance(error, TaskNotDeclared) else "")
    except InvalidDeclaration as error:
        nothing_known = JobDeclaration(job.name, tasks=())
        attempt = TaskAttempt(job, nothing_known, already_open, interruptible, failed)
        return _failed(attempt, error)
    kind = AtomicAttempt if declaration.atomic else kind
    attempt = kind(job, declaration, already_open, interruptible, failed)
    if declaration.atomic and attempt.call.is_async:
        return _failed(attempt, cannot_be_atomic(f"The task {job.next_task}"))
    return attempt


def _failed(attempt: TaskAttempt, error: InvalidDeclaration) -> Outcome:
    outcome = attempt.after_error(error)
    if DONE.take_a_line():
        _log_done(attempt, outcome)
    return outcome


def _log_done(attempt: TaskAttempt, outcome: Outcome) -> None:
    DONE.tell(
        'Job done: name="%s" id=%s queue="%s" task=%s duration=%.3fs outcome=%s',
        attempt.job.name,
        attempt.job.pk,
        attempt.job.queue_name,
        attempt.before.place[0],
        clock.monotonic() - attempt.started_monotonic,
        outcome.state.value,
    )


def _find_place(job: Job, declaration: JobDeclaration) -> None:
    """Make `next_task` one that is declared: nothing else is ever imported for a row."""
    if not job.next_task:  # inserted by hand
        job.next_task, job.task_index = declaration.tasks[0], 0
    job.task_index = declaration.place_of(job.next_task, job.task_index)
