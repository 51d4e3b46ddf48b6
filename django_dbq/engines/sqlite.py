"""SQLite: one writer at a time, so that a single statement is all the locking a claim needs."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import DatabaseError

from django_dbq.engines import proc
from django_dbq.engines.returning import ReturningEngine

logger = logging.getLogger(__name__)

TRANSIENT_ERRORS = (
    "database is locked",
    "database table is locked",
    "database or disk is full",
    "disk I/O error",
    "readonly database",
)


class SQLiteEngine(ReturningEngine):
    claim_template = (
        "UPDATE {table} SET {changes} WHERE id IN (SELECT best_id FROM ({best})) "
        "RETURNING {columns}"
    )

    @property
    def is_supported(self) -> bool:
        return bool(self.connection.features.can_return_columns_from_insert)  # RETURNING, 3.35

    def require_ready(self) -> None:
        super().require_ready()
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

    def _session_mark(self) -> str:
        # A file knows no sessions; but whoever opens it is on the same host, as a rule.
        return proc.mark_of_this_process()

    def abandoned_workers(self, *, unseen_since: datetime) -> list[int]:
        unseen = self._workers.silent_since(unseen_since).exclude(session="")
        marks = unseen.values_list("pk", "session")
        return [worker_id for worker_id, mark in marks if proc.has_ended(mark)]

    def is_transient(self, error: DatabaseError) -> bool:
        return any(words in str(error) for words in TRANSIENT_ERRORS)
