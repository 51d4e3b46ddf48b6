"""From the rows that a claim returns to jobs, with little read, converted or parsed for each.

What all claimed jobs have in common is not fetched, and its workspace comes as text, which is
parsed when a task looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import DEFERRED

from django_dbq.clock import as_stored
from django_dbq.models import Job
from django_dbq.rules.states import State

FIELDS = Job._meta.concrete_fields
PLACES = {field.name: place for place, field in enumerate(FIELDS)}
WORKSPACE, STARTED_AT = PLACES["workspace"], PLACES["started_at"]

SAME_FOR_ALL = ("state", "worker_id", "modified", "finished_at", "gate")
FETCHED = [field for field in FIELDS if field.name not in SAME_FOR_ALL]
FETCHED_PLACES = [PLACES[field.name] for field in FETCHED]


class ClaimedRows:
    """Rows with the columns `fetched`, of jobs that a worker claims at `now`."""

    def __init__(self, connection: Any, worker_id: int | None, now: datetime) -> None:
        self._connection = connection
        self._converters = list(_converters(connection))
        self._moment = as_stored(now)
        self._values: list[Any] = [None] * len(FIELDS)
        for name, value in (
            ("state", State.PROCESSING.value),
            ("worker_id", worker_id),
            ("modified", self._moment),
        ):
            self._values[PLACES[name]] = value

    def jobs(self, rows: Iterable[Sequence[Any]]) -> list[Job]:
        """A job for each row, as `from_db` would make it."""
        return [self._job(row) for row in rows]

    def _job(self, row: Sequence[Any]) -> Job:
        values = self._values.copy()
        for place, value in zip(FETCHED_PLACES, row):
            values[place] = value
        for place, convert, column in self._converters:
            if values[place] is not None:
                values[place] = convert(values[place], column, self._connection)
        workspace, values[WORKSPACE] = values[WORKSPACE], DEFERRED
        if values[STARTED_AT] is None:
            values[STARTED_AT] = self._moment
        job = Job(*values)  # type: ignore[misc]
        job._state.adding, job._state.db = False, self._connection.alias
        job.workspace_in_row = "null" if workspace is None else workspace
        return job


def fetched(**instead: str) -> str:
    """The columns that `ClaimedRows` takes, some written in another way."""
    return ", ".join(instead.get(field.name, str(field.column)) for field in FETCHED)


def _converters(connection: Any) -> Iterator[tuple[int, Callable[..., Any], Any]]:
    """For the places where the database's value is not yet Python's; NULL never comes here."""
    for field in FETCHED:
        if field.name != "workspace":
            column = field.get_col(Job._meta.db_table)
            for convert in (
                *connection.ops.get_db_converters(column),
                *column.get_db_converters(connection),
            ):
                yield PLACES[field.name], convert, column
