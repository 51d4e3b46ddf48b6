"""SQLite: one writer at a time, so that a single statement is all the locking a claim needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import DatabaseError

from django_dbq import clock
from django_dbq.engines import proc
from django_dbq.engines.doorbells import Doorbell
from django_dbq.engines.queues import Walk
from django_dbq.engines.returning import ReturningEngine
from django_dbq.engines.statements import is_held_by
from django_dbq.models import Job
from django_dbq.models.workspace import as_json
from django_dbq.rules.retention import Pace

logger = logging.getLogger(__name__)

BUSY_SNAPSHOT = 517  # https://www.sqlite.org/rescode.html#busy_snapshot
TRANSIENT_ERRORS = (
    "database is locked",
    "database table is locked",
    "database or disk is full",
    "disk I/O error",
    "readonly database",
)


class FileDoorbell(Doorbell):
    """Asks often whether any other connection has written to the file, and looks only then.

    That question costs some microseconds. It is answered for commits of other connections alone,
    those of this process included, and not at all for a database in memory.
    """

    share, shortest_seconds, longest_seconds = 0.004, 0.003, 0.030
    fallback_seconds = 0.5

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._version: tuple[Any, int] | None = None  # of the file, as this session sees it
        self._looked_at = float("-inf")

    def rang(self) -> bool:
        version = self._file_version()
        looked_seconds_ago = clock.monotonic() - self._looked_at
        if version == self._version and looked_seconds_ago < self._until_due(self.fallback_seconds):
            return False
        self._version = version
        self._looked_at = clock.monotonic()
        return self.look()

    def _file_version(self) -> tuple[Any, int]:
        session = self.engine.session
        if session is None:
            self.engine.connection.ensure_connection()
            session = self.engine.session
        with self.engine.connection.wrap_database_errors:
            return session, session.execute("PRAGMA data_version").fetchone()[0]


class SQLiteEngine(ReturningEngine):
    """Claims with one statement; whoever writes has the whole file to itself."""

    bell = FileDoorbell
    turn_seconds = None  # it lets others run after each row: short turns would slow it down
    claim_template = (
        "UPDATE {table} SET {changes} WHERE id IN (SELECT best_id FROM ({best})) "
        "RETURNING {columns}"
    )

    # All who write wait for a page; much of the time that it takes is its own wait for them.
    prune_pace = Pace(page_seconds=0.02, share=0.4)

    @property
    def is_supported(self) -> bool:
        return bool(self.connection.features.can_return_columns_from_insert)  # RETURNING, 3.35

    def get_ready(self) -> None:
        super().get_ready()
        self._write_ahead()

    def _write_ahead(self) -> None:
        """Let readers and the writer work side by side; a property of the file, kept in it.

        A project that names a journal mode in OPTIONS["init_command"] (Django 5.1+) has decided;
        then it stays.
        """
        options = self.connection.settings_dict.get("OPTIONS", {})
        if "journal_mode" in options.get("init_command", "") or self.connection.is_in_memory_db():
            return
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("PRAGMA journal_mode = WAL")
                (mode,) = cursor.fetchone()
        except DatabaseError as error:
            mode = str(error)
        if mode != "wal":
            logger.warning(
                "SQLite keeps no write-ahead log here (%s): readers and the worker will wait "
                "for each other.",
                mode,
            )

    def _first_rows(
        self, walk: Walk, columns: str, parameters: dict[str, Any]
    ) -> list[tuple[Any, ...]]:
        # A step of one column, because SQLite has no LATERAL.
        behind = f" AND {walk.queue} > (SELECT {walk.queue} FROM {self.table} WHERE id = first_id)"
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"WITH RECURSIVE firsts(first_id) AS (SELECT ({walk.step('id')}) UNION ALL "
                f"SELECT ({walk.step('id', behind)}) FROM firsts WHERE first_id IS NOT NULL) "
                f"SELECT {walk.queue}, {columns} FROM firsts JOIN {self.table} ON id = first_id",
                parameters,
            )
            return list(cursor.fetchall())

    def _begin_to_write(self) -> None:
        # A write waits for its turn; but after a read it is refused at once, if others have written
        # in between.
        with self.connection.cursor() as cursor:
            cursor.execute(f"UPDATE {self._workers_table} SET pid = pid WHERE FALSE")

    def _update_at_once(self, values: dict[str, Any], jobs: Sequence[Job]) -> int:
        # The ids as one text: a statement with a parameter for each would be another one for each
        # size of a batch, and Python keeps 128 of them prepared, with all their parameters.
        columns, parameters = self._assignments(values)
        ids = as_json([self._id_as_parameter(job) for job in jobs])
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.table} SET {columns} "
                "WHERE id IN (SELECT value FROM json_each(%s)) AND token = %s "
                f"AND {is_held_by(jobs[0].worker_id)}",
                [*parameters, ids, jobs[0].token],
            )
            return int(cursor.rowcount)

    def _session_mark(self) -> str:
        # A file knows no sessions; but whoever opens it is on the same host, as a rule.
        return proc.mark_of_this_process()

    def abandoned_workers(self, *, unseen_since: datetime) -> list[int]:
        unseen = self._workers.silent_since(unseen_since).exclude(session="")
        marks = unseen.values_list("pk", "session")
        return [worker_id for worker_id, mark in marks if proc.has_ended(mark)]

    def has_lost_snapshot(self, error: BaseException) -> bool:
        code = getattr(error.__cause__, "sqlite_errorcode", None)  # from Python 3.11 on
        return code == BUSY_SNAPSHOT

    def is_transient(self, error: DatabaseError) -> bool:
        return any(words in str(error) for words in TRANSIENT_ERRORS)
