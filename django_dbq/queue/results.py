"""A job as Django's Tasks API sees it: the `TaskResult` of a Django task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from django_dbq.exceptions import JobCancelled
from django_dbq.models import Attempt, Job
from django_dbq.models.workspace import parsed
from django_dbq.rules.django_tasks import declaration_at
from django_dbq.rules.metadata import task_result_class
from django_dbq.rules.outcomes import Failure, path_of
from django_dbq.rules.states import FINAL, HELD, State
from django_dbq.rules.worlds import World

ARGUMENTS = ("args", "kwargs")  # the keys of a Django task's workspace
METADATA = "metadata"  # and another one, if there is some


def result_of(job: Job) -> Any:
    """The `TaskResult` of a Django task's job, of the world that the task is from.

    Raises what `declaration_at` raises when the code has no such task.
    """
    declaration = declaration_at(job.name)
    task, world = declaration.task, declaration.world
    stories = list(Attempt.objects.using(job._state.db).filter(job_id=job.pk))
    result = unfinished_result(job, task, world, stories)
    object.__setattr__(result, "status", status_of(job, world))
    object.__setattr__(result, "_return_value", job.result)
    if job.state in FINAL:
        object.__setattr__(result, "finished_at", job.finished_at)
    if job.state == State.CANCELLED:
        result.errors.append(_cancelled(job, world))
    if job.state in HELD or job.state == State.COMPLETE:
        result.worker_ids.append(worker_name(job.worker_id))
    return result


def unfinished_result(job: Job, task: Any, world: World, stories: list[Any]) -> Any:
    """What the row and the stories of its failed attempts say, but for the attempt under way."""
    workspace = _workspace_of(job)
    arguments = _arguments_in(workspace)
    return task_result_class(world)(
        task=_as_enqueued(job, task, world),
        id=str(job.pk),
        status=world.base.TaskResultStatus.READY,
        enqueued_at=job.created,
        started_at=job.started_at,
        finished_at=None,
        last_attempted_at=job.last_attempted_at,
        args=arguments["args"],
        kwargs=arguments["kwargs"],
        backend=job.backend,
        errors=[error_of(story, world) for story in stories],
        worker_ids=[worker_name(story.worker_id) for story in stories],
        metadata=workspace.get(METADATA, {}),
    )


def arguments_of(job: Job) -> dict[str, Any]:
    """What the task is called with; leaves alone a workspace that nobody has looked at."""
    return _arguments_in(_workspace_of(job))


def put_metadata(job: Job, metadata: dict[str, Any]) -> None:
    """Have it in the job's workspace; leaves that alone if there is none and was none."""
    workspace = _workspace_of(job)
    if metadata or METADATA in workspace:
        job.workspace = {**_arguments_in(workspace), **({METADATA: metadata} if metadata else {})}


def _workspace_of(job: Job) -> Any:
    unread = job.workspace_in_row if job.is_workspace_unread else None
    workspace = job.workspace if unread is None else parsed(unread)
    return workspace if isinstance(workspace, dict) else {}  # SQL may have put anything there


def _arguments_in(workspace: Any) -> dict[str, Any]:
    return {"args": workspace.get("args", []), "kwargs": workspace.get("kwargs", {})}


def status_of(job: Job, world: World) -> Any:
    """Django knows four: a job that waits for another attempt is READY, one called off FAILED."""
    status = world.base.TaskResultStatus
    if job.state in HELD:
        return status.RUNNING
    if job.state == State.COMPLETE:
        return status.SUCCESSFUL
    return status.FAILED if job.state in FINAL else status.READY


def error_of(story: Attempt | Failure, world: World) -> Any:
    return world.base.TaskError(exception_class_path=story.exception, traceback=story.traceback)


def _cancelled(job: Job, world: World) -> Any:
    path = path_of(JobCancelled)
    reason = job.cancel_reason or JobCancelled.message
    return world.base.TaskError(exception_class_path=path, traceback=f"{path}: {reason}\n")


def worker_name(worker_id: int | None) -> str:
    """Workers' ids are never given out twice."""
    return "none" if worker_id is None else str(worker_id)


def _as_enqueued(job: Job, task: Any, world: World) -> Any:
    """The task with what `using()` has changed for this job."""
    asked = (job.priority, job.queue_name, job.backend, job.run_after)
    if asked == (task.priority, task.queue_name, task.backend, task.run_after):
        return task
    try:
        return replace(
            task,
            priority=job.priority,
            queue_name=job.queue_name,
            backend=job.backend,
            run_after=job.run_after,
        )
    except (world.invalid_task, ImproperlyConfigured):  # the settings have changed since then
        return task
