"""Call jobs off, and put finished ones back."""

from __future__ import annotations

from typing import Any, Protocol, Union
from uuid import UUID

from django.db import IntegrityError, router, transaction
from django.db.models import F

from django_dbq.clock import as_stored, aware_now
from django_dbq.exceptions import TaskNotDeclared, WrongState
from django_dbq.models import Job
from django_dbq.models.arrivals import announce
from django_dbq.models.unique import require_only_one
from django_dbq.rules.states import TRANSITIONS, State
from django_dbq.rules.worlds import is_task_result


class AnyResult(Protocol):
    """The `TaskResult` of a Django task, from either home of Django's Tasks API."""

    @property
    def id(self) -> str: ...

    @property
    def is_finished(self) -> bool: ...

    def refresh(self) -> None: ...


JobOrId = Union[Job, UUID, str]


def cancel(job: JobOrId | AnyResult, reason: str = "", *, using: str | None = None) -> State:
    """Call a job off: at once while it waits; while it runs, its task is asked to end.

    `job` is a Job, its id, or the result of a Django task. Returns the state in which the job is
    now: CANCELLED, or the one in which it runs, or the final one that it had reached before. Raises
    Job.DoesNotExist, or Django's ValidationError for a text that is no id.
    """
    row = _row(job, using)
    return row.cancel(reason, using=row._state.db)


def rerun(
    job: JobOrId | AnyResult, *, from_task: str | int | None = None, using: str | None = None
) -> Job:
    """Put a COMPLETE, FAILED or CANCELLED job back, to run from `from_task` on; returns it.

    `job` is a Job, its id, or the result of a Django task. `from_task` is a dotted path or a place
    in the job's list, counted from 0. Without it a COMPLETE job starts from its first task and any
    other one from the task at which it ended. Attempts and crashes are counted anew, the workspace
    stays, and so do the stories of failed attempts.

    Raises:
        WrongState: the job waits or runs; nothing was written.
        TaskNotDeclared: the job has no such task; nothing was written.
        AlreadyEnqueued: the job is unique, and one that is the same waits or runs; nothing was
            written.
        Job.DoesNotExist: there is no such job.
        ValidationError (Django's): the text is no id.
    """
    row = _row(job, using)
    task, place = _start_of(row, from_task)
    step, alias = TRANSITIONS["rerun"], str(row._state.db)
    anew = Job.objects.using(alias).filter(pk=row.pk, state__in=step.sources)
    try:
        with transaction.atomic(using=alias):
            updated = anew.update(
                state=step.target,
                next_task=task,
                task_index=place,
                run_after=None,
                is_due=None,
                attempts=0,
                crashes=0,
                worker_id=None,
                token=F("token") + 1,
                killed_at=None,
                cancel_requested_at=None,
                cancel_reason=None,
                finished_at=None,
                result=None,
                modified=as_stored(aware_now()),
            )
    except IntegrityError:
        require_only_one(row, using=alias)  # says which one is in the way
        raise
    row.refresh_from_db(using=alias)
    if not updated:
        raise WrongState(row.pk, row.state, step.sources)
    announce(row.queue_name, using=alias)
    return row


def _row(job: Any, using: str | None) -> Job:
    pk = job.id if isinstance(job, Job) or is_task_result(job) else job
    return Job.objects.using(alias_of(job, using)).get(pk=pk)


def alias_of(job: Any, using: str | None) -> str:
    """The database where a job is written: an instance of it may have been read from a replica."""
    hint = {"instance": job} if isinstance(job, Job) else {}
    return using or router.db_for_write(Job, **hint)


def _start_of(job: Job, from_task: str | int | None) -> tuple[str, int]:
    declaration = job.declaration
    if from_task is None:
        from_task = job.next_task or 0
    if isinstance(from_task, int):
        if isinstance(from_task, bool) or not 0 <= from_task < len(declaration.tasks):
            raise TaskNotDeclared(job.name, from_task, declaration.tasks)
        return declaration.tasks[from_task], from_task
    return from_task, declaration.place_of(from_task, job.task_index)
