"""One engine per database: the verbs by which workers take, hold and finish jobs."""

from __future__ import annotations

from django.db import connections

from django_dbq.engines.base import Engine
from django_dbq.engines.claiming import Claim
from django_dbq.exceptions import DatabaseNotReady

__all__ = ["Claim", "Engine", "engine_for"]


def engine_for(using: str) -> Engine:
    """The engine for a database alias: the only place that chooses one."""
    vendor = connections[using].vendor
    if vendor == "postgresql":
        from django_dbq.engines.postgresql import PostgreSQLEngine

        return PostgreSQLEngine(using)
    if vendor == "mysql":
        from django_dbq.engines.mysql import MySQLEngine

        return MySQLEngine(using)
    if vendor == "sqlite":
        from django_dbq.engines.sqlite import SQLiteEngine

        return SQLiteEngine(using)
    raise DatabaseNotReady(
        using,
        f"its engine is {vendor}, which has no row locks or indexes that this package knows.",
        hint="Use PostgreSQL, MariaDB, MySQL or SQLite for the jobs.",
    )
