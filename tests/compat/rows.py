"""Rows of `django_dbq_job` as a 3.3 process writes and reads them: by 3.3's columns alone."""

from __future__ import annotations

import json
import uuid

from django.db import connection, models
from django.utils import timezone

COLUMNS = [
    "id",
    "created",
    "modified",
    "name",
    "state",
    "next_task",
    "workspace",
    "queue_name",
    "priority",
    "run_after",
]
STATES = ["NEW", "READY", "PROCESSING", "STOPPING", "COMPLETE", "FAILED"]


def insert_row(*, name, next_task, **values):
    """Insert a row by SQL that names only 3.3's columns; returns its id."""
    now = timezone.now()
    row = {
        "id": uuid.uuid4(),
        "created": now,
        "modified": now,
        "name": name,
        "state": "NEW",
        "next_task": next_task,
        "workspace": {},
        "queue_name": "default",
        "priority": 0,
        "run_after": None,
        **values,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO django_dbq_job ({', '.join(COLUMNS)})"
            f" VALUES ({', '.join(['%s'] * len(COLUMNS))})",
            [_parameter(column, row[column]) for column in COLUMNS],
        )
    return row["id"]


def _parameter(column, value):
    if value is None:
        return None
    if column == "id":
        return models.UUIDField().get_db_prep_value(value, connection)
    if column == "workspace":
        return json.dumps(value)
    if column in ("created", "modified", "run_after"):
        return connection.ops.adapt_datetimefield_value(value)
    return value


def raw_rows():
    """Every row of the table as SQL gives it, by 3.3's columns, in the order of ids."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM django_dbq_job ORDER BY id")
        rows = [dict(zip(COLUMNS, row)) for row in cursor.fetchall()]
    for row in rows:
        if isinstance(row["workspace"], str):  # its spacing and order of keys are not promised
            row["workspace"] = json.loads(row["workspace"])
    return rows


def column_types():
    """`{column: (type, may be NULL)}` of the table, in the database's own words."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT name, type, NOT \"notnull\" FROM pragma_table_info('django_dbq_job')"
            )
            return {name: (kind.lower(), bool(null)) for name, kind, null in cursor.fetchall()}
        if connection.vendor == "postgresql":
            kind = "format_type(atttypid, atttypmod)"
            cursor.execute(
                f"SELECT attname, {kind}, NOT attnotnull FROM pg_attribute"
                " WHERE attrelid = 'django_dbq_job'::regclass AND attnum > 0 AND NOT attisdropped"
            )
        else:
            cursor.execute(
                "SELECT column_name, column_type, is_nullable = 'YES'"
                " FROM information_schema.columns"
                " WHERE table_schema = DATABASE() AND table_name = 'django_dbq_job'"
            )
        return {name: (kind.lower(), bool(null)) for name, kind, null in cursor.fetchall()}


def constraints():
    with connection.cursor() as cursor:
        return connection.introspection.get_constraints(cursor, "django_dbq_job")


def primary_key():
    (columns,) = (one["columns"] for one in constraints().values() if one["primary_key"])
    return columns


def indexes():
    """`{name: columns}` of all indexes but the primary key's."""
    return {
        name: one["columns"]
        for name, one in constraints().items()
        if one["index"] and not one["primary_key"]
    }
