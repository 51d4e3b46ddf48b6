"""Of jobs that are the same one waits or runs: how that one is found, and a rival is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connections,
    models,
    transaction,
)
from django.db.models.lookups import In

from django_dbq.exceptions import AlreadyEnqueued
from django_dbq.models.indexes import UniqueIndex

TRIES = 50  # each fails only because another job of the key came and ended meanwhile
MYSQL_DEADLOCK = 1213


class HasUniqueKey(In):  # type: ignore[type-arg, unused-ignore]
    """The condition that a job has one of these keys and has not ended, as the index answers it."""

    def __init__(self, *keys: str | None) -> None:
        # With its type, which Django 4.2 asks for before it knows the column.
        column = models.ExpressionWrapper(models.F("unique_key"), models.CharField())
        super().__init__(column, keys)

    def process_lhs(self, compiler: Any, connection: Any, lhs: Any = None) -> Any:
        if connection.vendor == "mysql":
            return UniqueIndex.mysql_columns[0], []
        return super().process_lhs(compiler, connection, lhs)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        sql, parameters = super().as_sql(compiler, connection)
        if connection.vendor != "mysql":
            sql = f"({sql} AND {UniqueIndex.predicate})"
        return sql, parameters


def insert_the_only_one(job: Any, insert: Callable[[], None], *, using: str) -> None:
    """Call `insert`; raise AlreadyEnqueued if another job of its key waits or runs.

    The caller's transaction goes on then. The look before it decides nothing: but to insert in vain
    leaves a line in a server's log, and on MySQL a lock on the other job. On SQLite there is no
    server; and a transaction that looks first may not write when others have written meanwhile.
    """
    looks_first = connections[using].vendor != "sqlite"
    for tries_left in reversed(range(TRIES)):
        if looks_first or tries_left < TRIES - 1:
            require_only_one(job, using=using)
        try:
            with transaction.atomic(using=using):
                insert()
            return
        except (IntegrityError, OperationalError) as error:
            if not (tries_left and _is_lost_to_a_rival(error, connections[using])):
                raise


def require_only_one(job: Any, *, using: str) -> None:
    """Raise AlreadyEnqueued if another job of its key waits or runs."""
    others = type(job)._base_manager.using(using).exclude(pk=job.pk)
    if there := others.filter(HasUniqueKey(job.unique_key)).first():
        raise AlreadyEnqueued(there)


def _is_lost_to_a_rival(error: DatabaseError, connection: Any) -> bool:
    """Whether a job was not inserted because another one of its key came in before.

    SQLite names the column, the others the index. MySQL may also call it a deadlock; that ends the
    caller's transaction, if there is one, and is for the caller to know.
    """
    if isinstance(error, IntegrityError):
        return any(name in str(error) for name in ("dbq_unique", "unique_key"))
    return error.args[:1] == (MYSQL_DEADLOCK,) and not connection.in_atomic_block
