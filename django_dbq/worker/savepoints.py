"""What keeps a database error of a task from breaking its caller's transaction: that of a test."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Any

from django.db import DatabaseError, connections
from django.db.transaction import TransactionManagementError


class Savepoints:
    """Around a task, or a hook, in the transactions of its caller; a worker has none.

    There, what was written stays when the task fails. Here too, unless its error is one of the
    database, after which a transaction can only go back: to where the task began.
    """

    def __init__(self, aliases: Collection[str]) -> None:
        self._aliases = aliases
        self._open: list[tuple[Any, str]] = []

    def __enter__(self) -> None:
        self._open = []
        for alias in self._aliases:
            connection = connections[alias]
            savepoint = connection.savepoint()
            if savepoint is not None:
                self._open.append((connection, savepoint))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        were_broken = [_end(connection, savepoint) for connection, savepoint in self._open]
        if any(were_broken) and error is None:
            raise TransactionManagementError(
                "The task has caught an error of the database. A worker runs it outside of any "
                "transaction, where it may; in that of a TestCase it must not. Put what may fail "
                "into a transaction.atomic() of its own, or use a TransactionTestCase."
            )


def _end(connection: Any, savepoint: str) -> bool:
    """Be done with the savepoint, or go back to it; whether that was necessary."""
    is_broken: bool = connection.needs_rollback
    connection.needs_rollback = False
    if not is_broken:
        try:
            connection.savepoint_commit(savepoint)
            return False
        except DatabaseError:  # of PostgreSQL, after an error that Django has not seen
            pass
    connection.savepoint_rollback(savepoint)
    connection.savepoint_commit(savepoint)
    return True
