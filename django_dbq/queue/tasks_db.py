"""A row of django-tasks-db as a job of ours, and a job as a row of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from django_dbq.clock import as_stored, aware_now
from django_dbq.engines.adopting import Choice
from django_dbq.exceptions import AlreadyEnqueued, DBQError, JobCancelled
from django_dbq.models import Attempt, Job
from django_dbq.models.foreign import TasksDBRow
from django_dbq.models.unique import require_only_one
from django_dbq.queue.results import ARGUMENTS, arguments_of, worker_name
from django_dbq.rules.django_tasks import declaration_at
from django_dbq.rules.outcomes import LONGEST_MESSAGE, LONGEST_TRACEBACK, path_of
from django_dbq.rules.states import FINAL, State

LONGEST_NAME, LARGEST_PRIORITY = 32, 100  # in their table
OUR_BACKEND = ("django_dbq.task_backend", "DatabaseBackend")


def as_jobs(rows: list[TasksDBRow], *, using: str) -> Choice:
    """The jobs that these rows become, and why the others do not. Writes nothing."""
    here = Job.objects.using(using).filter(pk__in=[row.pk for row in rows])
    known = set(here.values_list("pk", flat=True))
    backends = {alias: _why_not_from(alias) for alias in {row.backend_name for row in rows}}
    waiting = {row.task_path for row in rows if row.status == row.WAITING}
    tasks = {path: _why_not_run(path) for path in waiting}
    choice, keys = Choice(), set[str]()
    for row in rows:
        job = _job_of(row)
        reason = (
            "There is a job of that id already."
            if row.pk in known
            else _why_no_job(job) or backends[row.backend_name] or tasks.get(row.task_path)
        )
        if not reason and row.status == row.WAITING:
            reason = _why_not_the_only_one(job, keys, using=using)
        if reason:
            choice.refused.append((row, reason))
            continue
        choice.taken.append((row, job))
        if row.status == row.FAILED:
            choice.attempts.append(_story_of(row))
    return choice


def _job_of(row: TasksDBRow) -> Job:
    job = Job(
        id=row.pk,
        created=row.enqueued_at,
        modified=as_stored(aware_now()),
        name=row.task_path,
        backend=row.backend_name,
        workspace=row.args_kwargs,
        queue_name=row.queue_name,
        priority=row.priority,
        run_after=row.due,
        state=State.NEW,
        next_task=row.task_path,
        task_index=0,
        started_at=row.started_at,
        last_attempted_at=row.started_at,
    )
    if row.status != row.WAITING:
        job.finished_at, job.attempts = row.finished_at, 1
        job.state = State.FAILED
    if row.status in row.SUCCESSFUL:
        job.state, job.result = State.COMPLETE, row.return_value
        job.next_task, job.task_index = "", None
    return job


def _story_of(row: TasksDBRow) -> Attempt:
    text = row.traceback
    started_at = row.started_at or row.enqueued_at
    return Attempt(
        job_id=row.pk,
        job_name=row.task_path,
        task=row.task_path,
        number=1,
        exception=row.exception_class_path[:255],
        # Which they keep nowhere else. A traceback ends, as a rule, in "ValueError: its message".
        message=text.rstrip().rpartition("\n")[2].partition(": ")[2][:LONGEST_MESSAGE],
        traceback=text[-LONGEST_TRACEBACK:],
        worker=_listed(row.worker_ids)[:255],
        started_at=started_at,
        finished_at=row.finished_at or started_at,
    )


def _listed(worker_ids: Any) -> str:
    return ", ".join(map(str, worker_ids if isinstance(worker_ids, list) else [worker_ids or ""]))


def as_rows(jobs: list[Job], *, using: str) -> Choice:
    """The rows that these jobs become, and why the others do not. Writes nothing."""
    ids = [job.pk for job in jobs]
    there = TasksDBRow._base_manager.using(using).filter(pk__in=ids)
    known = set(there.values_list("pk", flat=True))
    stories = Attempt.objects.using(using).filter(job_id__in=ids).order_by("id")
    last_story = {story.job_id: story for story in stories}
    backends = {alias: _why_not_back_to(alias) for alias in {job.backend for job in jobs}}
    choice = Choice()
    for job in jobs:
        reason = (
            "There is a row of that id already."
            if job.pk in known
            else _why_no_row(job) or backends[job.backend]
        )
        if reason:
            choice.refused.append((job, reason))
        else:
            choice.taken.append((job, _row_of(job, last_story.get(job.pk))))
    return choice


def _row_of(job: Job, story: Attempt | None) -> TasksDBRow:
    row = TasksDBRow(
        id=job.pk,
        status=TasksDBRow.WAITING,
        enqueued_at=job.created,
        started_at=job.started_at,
        args_kwargs=arguments_of(job),
        priority=job.priority,
        task_path=job.name,
        worker_ids=[],
        queue_name=job.queue_name,
        backend_name=job.backend,
        run_after=job.run_after or TasksDBRow.at_once(),
        exception_class_path="",
        traceback="",
    )
    if job.state in FINAL:
        row.finished_at = job.finished_at
        row.worker_ids = [] if job.worker_id is None else [worker_name(job.worker_id)]
    if job.state == State.COMPLETE:
        row.status, row.return_value = TasksDBRow.SUCCESSFUL[0], job.result
    elif job.state in FINAL:
        row.status = TasksDBRow.FAILED
        if job.state == State.CANCELLED:
            row.exception_class_path, row.traceback = path_of(JobCancelled), job.cancel_reason or ""
        elif story is not None:
            row.exception_class_path, row.traceback = story.exception, story.traceback
    return row


# Why a row cannot become a job, or a job a row; None if it can


def _why_no_row(job: Job) -> str | None:
    if job.gate is not None or job.concurrency_key or job.group_id:
        return "It waits for other jobs, which they do not know."
    for name, value in (("queue", job.queue_name), ("backend", job.backend)):
        if len(str(value)) > LONGEST_NAME:
            return f"The name of its {name}, {value!r}, is longer than {LONGEST_NAME}."
    if abs(job.priority) > LARGEST_PRIORITY:
        return f"Its priority {job.priority} is outside -{LARGEST_PRIORITY}…{LARGEST_PRIORITY}."
    return None


def _why_not_back_to(alias: str | None) -> str | None:
    """Callers who ask this backend for a result must not come to us with it."""
    path = _path_of_backend(alias)
    if path and not _is_ours(path):
        return None
    return f"settings.TASKS[{alias!r}] is {path or 'missing'}; it should be theirs again."


def _why_no_job(job: Job) -> str | None:
    found = job.workspace
    if not (
        isinstance(found, Mapping)
        and set(found) == set(ARGUMENTS)
        and isinstance(found["args"], list)
        and isinstance(found["kwargs"], Mapping)
    ):
        return 'Its args_kwargs are not {"args": [...], "kwargs": {...}}.'
    try:
        job.require_storable()
    except DBQError as error:
        return str(error)
    return None


def _why_not_the_only_one(job: Job, keys: set[str], *, using: str) -> str | None:
    """`keys` are those of the jobs that are taken, to which that of this one is added."""
    try:
        job.take_unique_key(job.declaration)
        if job.unique_key is not None:
            require_only_one(job, using=using)
    except (TypeError, AlreadyEnqueued) as error:  # TypeError: for arguments that it does not take
        return str(error)
    if job.unique_key in keys:
        return f"It is unique, and another row of {job.name!r} is the same."
    if job.unique_key is not None:
        keys.add(job.unique_key)
    return None


def _why_not_from(alias: str) -> str | None:
    """Callers who ask this backend for a result must come to us with it."""
    path = _path_of_backend(alias)
    if path and _is_ours(path):
        return None
    ours = ".".join(OUR_BACKEND)
    return f"settings.TASKS[{alias!r}] is {path or 'missing'}; it should be {ours}."


def _path_of_backend(alias: str | None) -> str | None:
    entry = getattr(settings, "TASKS", {}).get(alias)
    return entry["BACKEND"] if entry else None


def _is_ours(path: str) -> bool:
    try:
        kinds = import_string(path).__mro__
    except ImportError:
        return False
    return any((kind.__module__, kind.__qualname__) == OUR_BACKEND for kind in kinds)


def _why_not_run(path: str) -> str | None:
    try:
        declaration_at(path)
    except DBQError as error:
        return str(error)
    except Exception as error:  # to import a module of the project may raise anything
        return f"{path!r} cannot be imported: {error!r}."
    return None
