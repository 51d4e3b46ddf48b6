"""Run one task of one job with its hooks, and say what became of it."""

from __future__ import annotations

import logging
from collections.abc import Set
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django_dbq import clock
from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared, TaskNotDeclared
from django_dbq.models import Job
from django_dbq.rules.declarations import JobDeclaration
from django_dbq.rules.outcomes import CalledOff, Declined, Outcome
from django_dbq.worker.atomic import AtomicAttempt
from django_dbq.worker.attempts import Attempt
from django_dbq.worker.logs import DONE, log


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
        log(logging.INFO, 'Job cancelled: name="%s" id=%s', job.name, job.pk)
        return CalledOff()
    around_the_task = interruptible or nullcontext()
    try:
        declaration = job.declaration
        declaration.place_of(job.next_task or declaration.tasks[0], job.task_index)
    except (JobNotDeclared, TaskNotDeclared) as error:
        log(logging.WARNING, "Job id=%s is left to another worker: %s", job.pk, error)
        return Declined(task=job.next_task if isinstance(error, TaskNotDeclared) else "")
    except InvalidDeclaration as error:
        nothing_known = JobDeclaration(job.name, tasks=())
        attempt = Attempt(job, nothing_known, already_open, around_the_task)
        outcome = attempt.fail(error)
    else:
        kind = AtomicAttempt if declaration.atomic else Attempt
        attempt = kind(job, declaration, already_open, around_the_task)
        outcome = attempt.run()
    if DONE.is_wanted():
        DONE.tell(
            'Job done: name="%s" id=%s queue="%s" task=%s duration=%.3fs outcome=%s',
            job.name,
            job.pk,
            job.queue_name,
            attempt.place_before[0],
            clock.monotonic() - attempt.started_monotonic,
            outcome.state.value,
        )
    return outcome
