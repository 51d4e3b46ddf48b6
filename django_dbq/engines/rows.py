"""From the rows that a claim returns to jobs, with little read, converted or parsed for each.

What all claimed jobs have in common is not fetched, and its workspace comes as text, which is
parsed when a task looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import DEFERRED
from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init

from django_dbq.clock import as_stored, at_microsecond
from django_dbq.models import Job
from django_dbq.rules.states import State

SAME_FOR_ALL = (
    "state",
    "worker_id",
    "modified",
    "last_attempted_at",
    "finished_at",
    "gate",
    "result",
)
FIELDS = Job._meta.concrete_fields
FETCHED = [field for field in FIELDS if field.name not in SAME_FOR_ALL]
NAMES = [field.attname for field in FETCHED]


class ClaimedRows:
    """Makes jobs of rows with the columns `fetched`, again and again."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._converters = list(_converters(connection))  # once: it takes as long as many jobs

    def jobs(
        self, rows: Iterable[Sequence[Any]], *, worker_id: int | None, now: datetime
    ) -> list[Job]:
        """A job for each row that this worker has claimed at `now`, as `from_db` would make it."""
        listened = pre_init.has_listeners(Job) or post_init.has_listeners(Job)
        make = _constructed if listened else _put_together
        moment = as_stored(now)
        same_for_all = {
            "state": State.PROCESSING.value,
            "worker_id": worker_id,
            "modified": moment,
            "last_attempted_at": moment,
            "finished_at": None,
            "gate": None,
            "result": None,
        }
        return [self._job(row, same_for_all, make) for row in rows]

    def _job(
        self,
        row: Sequence[Any],
        same_for_all: dict[str, Any],
        make: Callable[[dict[str, Any]], Job],
    ) -> Job:
        values = dict(zip(NAMES, row))
        for name, convert, column in self._converters:
            if values[name] is not None:
                values[name] = convert(values[name], column, self._connection)
        workspace = values.pop("workspace")
        values.update(same_for_all)
        if type(values["created"]) is int:
            values["created"] = as_stored(at_microsecond(values["created"]))
        if values["started_at"] is None:
            values["started_at"] = values["modified"]
        values["workspace_in_row"] = "null" if workspace is None else workspace
        job = make(values)
        job._state.adding, job._state.db = False, self._connection.alias
        return job


def _constructed(values: dict[str, Any]) -> Job:
    job = Job.__new__(Job)
    job.workspace_in_row = values["workspace_in_row"]  # receivers may look at the workspace
    job.__init__(*(values.get(field.attname, DEFERRED) for field in FIELDS))  # type: ignore[misc]
    return job


def _put_together(values: dict[str, Any]) -> Job:
    """The same where nobody listens to `pre_init` and `post_init`, in a third of the time."""
    job = Job.__new__(Job)
    job.__dict__.update(values, _state=ModelState())
    return job


def fetched(**instead: str) -> str:
    """The columns that `ClaimedRows` takes, some written in another way."""
    return ", ".join(instead.get(field.name, str(field.column)) for field in FETCHED)


def _converters(connection: Any) -> Iterator[tuple[str, Callable[..., Any], Any]]:
    """By name, where the database's value is not yet Python's; NULL never comes here."""
    for field in FETCHED:
        if field.attname != "workspace":
            column = field.get_col(Job._meta.db_table)
            for convert in (
                *connection.ops.get_db_converters(column),
                *column.get_db_converters(connection),
            ):
                yield field.attname, convert, column
