"""A job as an attempt has found it: what has changed on it since, and the way back."""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import Any

from django_dbq.exceptions import InvalidJob, WorkspaceNotJSON
from django_dbq.models import Job
from django_dbq.models.workspace import as_json, parsed
from django_dbq.rules.storable import WHY_UNSTORABLE
from django_dbq.worker.logs import log

# What a task or hook may set on its job, besides the workspace, and find saved afterwards.
SAVED_WITH_THE_OUTCOME = ("name", "queue_name", "priority", "run_after")
_values_saved = attrgetter(*SAVED_WITH_THE_OUTCOME)


class Snapshot:
    """Of one job; made for each attempt, and so no more than it needs."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.place = (job.next_task, job.task_index)
        self.values = _values_saved(job)
        self.workspace, job.saved_workspace = _workspace_of(job), None

    def restore(self) -> None:
        """Have the job as it was, but for what its task has saved as a checkpoint."""
        for name, value in zip(SAVED_WITH_THE_OUTCOME, self.values):
            setattr(self.job, name, value)
        if self._in_row is not None:
            self.job.unread_workspace(self._in_row)

    def moved(self) -> dict[str, Any]:
        """The job's place in its list of tasks, if that is another now."""
        place = (self.job.next_task, self.job.task_index)
        return {} if place == self.place else dict(zip(("next_task", "task_index"), place))

    def require_storable(self) -> None:
        """Raise InvalidJob or WorkspaceNotJSON for what no outcome could save."""
        for name, value in self._values_changed().items():
            reason = WHY_UNSTORABLE[name](value)
            if reason:
                raise InvalidJob(name, reason)
        if not self.job.is_workspace_unread:
            self.job.workspace_as_json()

    def changes(self) -> dict[str, Any]:
        """What is to be saved with the outcome."""
        job, changes = self.job, {}
        for name, value in self._values_changed().items():
            reason = WHY_UNSTORABLE[name](value)
            if reason:  # as below
                log(logging.ERROR, "Job id=%s: its %s was not saved: %s", job.pk, name, reason)
            else:
                changes[name] = value
        if job.is_workspace_unread:
            return changes
        try:
            if not self._is_in_row(job.workspace_as_json()):
                changes["workspace"] = job.workspace
        except WorkspaceNotJSON as error:
            # The task is FAILED for it already, or a hook did it: the last good one stays.
            log(logging.ERROR, "Job id=%s: its workspace was not saved. %s", job.pk, error)
        return changes

    def _values_changed(self) -> dict[str, Any]:
        values = _values_saved(self.job)
        if values == self.values:
            return {}
        compared = zip(SAVED_WITH_THE_OUTCOME, values, self.values)
        return {name: value for name, value, before in compared if value != before}

    @property
    def _in_row(self) -> str | None:
        """The text of the workspace that the row has now."""
        return self.job.saved_workspace or self.workspace

    def _is_in_row(self, workspace: str) -> bool:
        """Whether the row has this text, or one that databases write in another way."""
        in_row = self._in_row
        if in_row is None or workspace == in_row:
            return in_row is not None
        try:
            return workspace == as_json(parsed(in_row))
        except (ValueError, RecursionError):  # SQL has put there what JSON cannot express
            return False


def _workspace_of(job: Job) -> str | None:
    """The workspace as text; None for one that SQL has put there and JSON cannot express."""
    if job.is_workspace_unread:
        return job.workspace_in_row
    job.workspace = {} if job.workspace is None else job.workspace
    try:
        return job.workspace_as_json()
    except WorkspaceNotJSON:
        return None
