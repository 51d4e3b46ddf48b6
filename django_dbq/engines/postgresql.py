"""PostgreSQL: one statement a claim, rivals' rows stepped over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from django.db import OperationalError
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from django_dbq.clock import aware_now
from django_dbq.engines.returning import ReturningEngine
from django_dbq.engines.statements import batches, is_held_by
from django_dbq.models import Job
from django_dbq.rules.identifiers import uuid7

_COPIED_FOR_EACH = ("id", "created", "modified", "workspace")
_COPIED_FOR_ALL = (
    "name",
    "state",
    "next_task",
    "task_index",
    "queue_name",
    "priority",
    "run_after",
)

COPIED_AT_ONCE = 5_000

# Classes of SQLSTATE: rolled back for a rival, out of resources, not in the right state (a lock
# that does not come), stopped by a person or a time limit; and a code, a server that is read-only.
TRANSIENT_CLASSES, READ_ONLY = ("40", "53", "55", "57"), "25006"


class PostgreSQLEngine(ReturningEngine):
    lock_rows = "FOR UPDATE SKIP LOCKED"
    # MATERIALIZED fixes the batch: planned into the update, the choice could be made again for each
    # row and lock more of them than the limit.
    claim_template = (
        "WITH best AS MATERIALIZED ({best}) UPDATE {table} SET {changes} "
        "FROM best WHERE id = best_id RETURNING {columns}"
    )

    def now(self) -> datetime:
        with self.connection.cursor() as cursor:
            # Not now(), the transaction's start; and UTC, whatever USE_TZ makes of the session.
            cursor.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
            answer: datetime = cursor.fetchone()[0]
        return answer.replace(tzinfo=timezone.utc)

    def _is_one_statement(self, alike: object) -> bool:
        return True

    def _update_held(
        self, values: dict[str, Any], jobs: Sequence[Job], workspaces: Sequence[str] | None
    ) -> int:
        columns, parameters = self._assignments(values)
        given = {"id": "uuid", "token": "integer"}
        arrays: list[list[Any]] = [[job.pk for job in jobs], [job.token for job in jobs]]
        if workspaces is not None:
            columns += ", workspace = given.workspace::jsonb"
            given["workspace"] = "text"
            arrays.append(list(workspaces))
        unnested = ", ".join(f"%s::{kind}[]" for kind in given.values())
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.table} AS job SET {columns} "
                f"FROM unnest({unnested}) AS given({', '.join(given)}) "
                f"WHERE job.id = given.id AND job.token = given.token "
                f"AND {is_held_by(jobs[0].worker_id)}",
                [*parameters, *arrays],
            )
            return int(cursor.rowcount)

    def insert_alike(self, template: Job, workspaces: Iterable[dict[str, Any] | None]) -> int:
        if not is_psycopg3 or template.declaration.creation_hook:
            return super().insert_alike(template, workspaces)
        template.next_task, template.task_index = template.declaration.tasks[0], 0
        template.require_storable()
        for_all = "\t".join(_as_copied(getattr(template, name)) for name in _COPIED_FOR_ALL)
        inserted = 0
        # Drawn before each COPY begins: where they come from may need this very connection.
        for batch in batches(workspaces, COPIED_AT_ONCE):
            self._copy(template, batch, for_all)
            inserted += len(batch)
        return inserted

    def _copy(
        self, template: Job, workspaces: Sequence[dict[str, Any] | None], for_all: str
    ) -> None:
        columns = ", ".join((*_COPIED_FOR_EACH, *_COPIED_FOR_ALL))
        statement = f"COPY {self.table} ({columns}) FROM STDIN"
        rows = "".join(_row_as_copied(template, workspace, for_all) for workspace in workspaces)
        connection = self.connection
        with (
            connection.wrap_database_errors,
            connection.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            copy.write(rows)

    def is_transient(self, error: OperationalError) -> bool:
        cause = error.__cause__
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""
        return state[:2] in TRANSIENT_CLASSES or state == READ_ONLY


def _row_as_copied(template: Job, workspace: dict[str, Any] | None, for_all: str) -> str:
    template.workspace = {} if workspace is None else workspace
    json = template.workspace_as_json().replace("\\", "\\\\")
    now = aware_now().isoformat()
    return f"{uuid7()}\t{now}\t{now}\t{json}\t{for_all}\n"


def _as_copied(value: Any) -> str:
    """A value in COPY's text format."""
    if value is None:
        return "\\N"
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    for character, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, escaped)
    return text
