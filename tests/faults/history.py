"""What became of the jobs: a table to which the database itself adds each change of a job's state.

A trigger writes it, so that it has what was committed and nothing else, whoever wrote it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

HISTORY, EFFECTS = "dbq_faults_history", "dbq_faults_effects"

WATCHED = {
    "state": "varchar(20)",
    "token": "integer",
    "worker_id": "bigint",
    "attempts": "integer",
    "crashes": "integer",
    "task_index": "integer",
}
SERIAL = {
    "postgresql": "bigserial PRIMARY KEY",
    "mysql": "bigint AUTO_INCREMENT PRIMARY KEY",
    "sqlite": "integer PRIMARY KEY",
}
EPOCH_NOW = {
    "postgresql": "extract(epoch FROM clock_timestamp())",
    "mysql": "unix_timestamp(sysdate(6))",
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
}


@dataclass(frozen=True)
class Change:
    """One committed change of a job's state or token."""

    at: float  # seconds, on the database's clock
    job: str
    old_state: str
    new_state: str
    old_token: int
    new_token: int
    old_worker_id: int | None
    new_worker_id: int | None
    old_attempts: int
    new_attempts: int
    old_crashes: int
    new_crashes: int
    old_task_index: int | None
    new_task_index: int | None


def columns():
    return [f"{age}_{name}" for name in WATCHED for age in ("old", "new")]


def begin():
    """Make the tables and the trigger."""
    end()
    vendor = connection.vendor
    typed = ", ".join(f"{age}_{name} {kind}" for name, kind in WATCHED.items() for age in AGES)
    values = ", ".join(f"{age.upper()}.{name}" for name in WATCHED for age in AGES)
    row = f"{EPOCH_NOW[vendor]}, {'NEW.id::text' if vendor == 'postgresql' else 'NEW.id'}, {values}"
    into = f"INSERT INTO {HISTORY} (at, job, {', '.join(columns())})"
    differs = "OLD.state <> NEW.state OR OLD.token <> NEW.token"
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {HISTORY} (id {SERIAL[vendor]}, at double precision, job varchar(36), "
            f"{typed})"
        )
        cursor.execute(
            f"CREATE TABLE {EFFECTS} (id {SERIAL[vendor]}, job varchar(36), token integer)"
        )
        if vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION dbq_faults_note() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN {into} VALUES ({row}); RETURN NULL; END $$"
            )
            cursor.execute(
                "CREATE TRIGGER dbq_faults AFTER UPDATE ON django_dbq_job FOR EACH ROW "
                f"WHEN ({differs}) EXECUTE FUNCTION dbq_faults_note()"
            )
        elif vendor == "mysql":
            cursor.execute(
                "CREATE TRIGGER dbq_faults AFTER UPDATE ON django_dbq_job FOR EACH ROW "
                f"{into} SELECT {row} FROM DUAL WHERE {differs}"
            )
        else:
            cursor.execute(
                "CREATE TRIGGER dbq_faults AFTER UPDATE ON django_dbq_job FOR EACH ROW "
                f"WHEN {differs} BEGIN {into} VALUES ({row}); END"
            )


AGES = ("old", "new")


def end():
    """Remove what begin() made."""
    on_table = " ON django_dbq_job" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER IF EXISTS dbq_faults{on_table}")
        if connection.vendor == "postgresql":
            cursor.execute("DROP FUNCTION IF EXISTS dbq_faults_note")
        existing = connection.introspection.table_names(cursor)
        for table in (HISTORY, EFFECTS):
            if table in existing:
                cursor.execute(f"DROP TABLE {table}")


def changes():
    """All changes, in the order in which they were committed as far as one job is concerned."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT at, job, {', '.join(columns())} FROM {HISTORY} ORDER BY id")
        return [Change(at, str(UUID(job)), *values) for at, job, *values in cursor.fetchall()]


def effects():
    """The jobs whose atomic task has had its effect, once for each time."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT job FROM {EFFECTS}")
        return [job for (job,) in cursor.fetchall()]


def clock_offset():
    """What to add to this host's monotonic clock for the database's time."""
    with connection.cursor() as cursor:
        before = time.monotonic()
        cursor.execute(f"SELECT {EPOCH_NOW[connection.vendor]}")
        (epoch,) = cursor.fetchone()
    return float(epoch) - (before + time.monotonic()) / 2
