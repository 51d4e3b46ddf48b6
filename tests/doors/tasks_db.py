"""The table of django-tasks-db 0.13: made by that package's migrations where it is installed, and
else by SQL, as they make it."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec

from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from django_dbq.models.foreign import TasksDBRow

LABEL = "django_tasks_database"
TABLE = f"{LABEL}_dbtaskresult"
IS_INSTALLED = find_spec("django_tasks_db") is not None

ENQUEUED_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
NOW = datetime(9999, 1, 1, tzinfo=timezone.utc)

KINDS = {
    "sqlite": {"id": "char(32)", "time": "datetime", "json": "text", "text": "text"},
    "postgresql": {"id": "uuid", "time": "timestamptz", "json": "jsonb", "text": "text"},
    "mysql": {"id": "char(32)", "time": "datetime(6)", "json": "longtext", "text": "longtext"},
}
COLUMNS = """
    id {id} NOT NULL PRIMARY KEY, status varchar(10) NOT NULL, enqueued_at {time} NOT NULL,
    started_at {time} NULL, finished_at {time} NULL, args_kwargs {json} NOT NULL,
    priority integer NOT NULL, task_path {text} NOT NULL, worker_ids {json} NOT NULL,
    queue_name varchar(32) NOT NULL, backend_name varchar(32) NOT NULL, run_after {time} NOT NULL,
    return_value {json} NULL, exception_class_path {text} NOT NULL, traceback {text} NOT NULL,
    CONSTRAINT priority_range CHECK (priority BETWEEN -100 AND 100)
"""


def create_table(alias: str) -> None:
    if IS_INSTALLED:
        with with_their_app():
            call_command("migrate", LABEL, database=alias, verbosity=0)
        return
    connection = connections[alias]
    kinds = dict(KINDS[connection.vendor])
    if connection.vendor == "mysql" and connection.features.has_native_uuid_field:
        kinds["id"] = "uuid"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {TABLE} ({COLUMNS.format(**kinds)})")
        cursor.execute(f"CREATE INDEX tasks_db_ready ON {TABLE} (status, priority, run_after)")


def drop_table(alias: str) -> None:
    # Not by their migrations: one of them does not run backwards.
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DROP TABLE {TABLE}")


def with_their_app():
    from django.conf import settings

    return override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "django_tasks_db"])


def row(task, *args, using="default", **values) -> uuid.UUID:
    """Insert a row of theirs, waiting if nothing else is said; returns its id."""
    return TasksDBRow._base_manager.using(using).create(**values_of(task, *args, **values)).pk


def values_of(task, *args, **values):
    return {
        "id": uuid.uuid4(),
        "status": "READY",
        "enqueued_at": ENQUEUED_AT,
        "args_kwargs": {"args": list(args), "kwargs": {}},
        "priority": 0,
        "task_path": task if isinstance(task, str) else task.module_path,
        "worker_ids": [],
        "queue_name": "default",
        "backend_name": "default",
        "run_after": NOW,
        "return_value": None,
        "exception_class_path": "",
        "traceback": "",
        **values,
    }


def finished(task, *args, **values):
    times = {
        "started_at": ENQUEUED_AT + timedelta(seconds=1),
        "finished_at": ENQUEUED_AT + timedelta(seconds=2),
        "worker_ids": ["Jb1XoX9W"],
    }
    return row(task, *args, **{"status": "SUCCESSFUL", **times, **values})


def failed(task, *args, **values):
    error = {
        "exception_class_path": "builtins.ValueError",
        "traceback": "Traceback (most recent call last):\n  …\nValueError: no luck today\n",
    }
    return finished(task, *args, **{"status": "FAILED", **error, **values})


def ids(using="default") -> set[uuid.UUID]:
    return set(TasksDBRow._base_manager.using(using).values_list("pk", flat=True))
