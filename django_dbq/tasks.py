"""3.3's look-ups in `settings.JOBS`, under the names that its users import."""

from __future__ import annotations

from django_dbq.rules.declarations import declaration_of


def get_next_task_name(job_name: str, current_task: str | None = None) -> str | None:
    """The first task of a job; the one after `current_task`; None after the last.

    A task that stands in the list more than once counts as its first appearance: a job's own
    `update_next_task()` knows its place and has no such limit.

    Raises:
        JobNotDeclared: (a KeyError) no job of this name is declared.
        TaskNotDeclared: (a ValueError) the job has no such task.
    """
    declaration = declaration_of(job_name)
    if current_task is None:
        return declaration.tasks[0]
    following, _ = declaration.following(current_task, None)
    return following or None


def get_pre_task_hook_name(job_name: str) -> str | None:
    """The dotted path of the job's pre-task hook, or None."""
    return declaration_of(job_name).pre_task_hook


def get_post_task_hook_name(job_name: str) -> str | None:
    """The dotted path of the job's post-task hook, or None."""
    return declaration_of(job_name).post_task_hook


def get_failure_hook_name(job_name: str) -> str | None:
    """The dotted path of the job's failure hook, or None."""
    return declaration_of(job_name).failure_hook


def get_creation_hook_name(job_name: str) -> str | None:
    """The dotted path of the job's creation hook, or None."""
    return declaration_of(job_name).creation_hook
