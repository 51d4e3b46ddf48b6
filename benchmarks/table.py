"""The job table of the measured databases: made, filled, emptied and dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections

from django_dbq import queue
from django_dbq.engines import engine_for
from django_dbq.models import Job

TABLE = Job._meta.db_table


@contextmanager
def databases() -> Iterator[None]:
    """All databases of the settings, made by the migrations, and dropped at the end."""
    made = []
    try:
        for alias in connections:
            creation = connections[alias].creation
            creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
            made.append(alias)
            engine_for(alias).require_ready()  # what a worker does to a database at its start
        yield
    finally:
        for alias in made:
            name = connections[alias].settings_dict["NAME"]
            connections[alias].creation.destroy_test_db(name, verbosity=0)


def fill(jobs: int, name: str, workspace: dict[str, Any] | None = None) -> None:
    """Make the table hold these jobs and nothing else, as an application would have put them in."""
    empty()
    queue.enqueue_many(name, (workspace for _ in range(jobs)))


def empty(using: str = "default") -> None:
    words = "DELETE FROM" if connections[using].vendor == "sqlite" else "TRUNCATE TABLE"
    execute(f"{words} {TABLE}", using=using)


def analyze(using: str) -> None:
    words = {"mysql": f"ANALYZE TABLE {TABLE}"}.get(connections[using].vendor, f"ANALYZE {TABLE}")
    execute(words, using=using)


def let_statistics_age(using: str) -> None:
    """Keep the server from gathering statistics by itself, at a time that nobody knows."""
    words = {
        "postgresql": f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)",
        "mysql": f"ALTER TABLE {TABLE} STATS_AUTO_RECALC = 0",
    }.get(connections[using].vendor)
    if words:
        execute(words, using=using)


def execute(statement: str, *, using: str = "default") -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(statement)
        if cursor.description:  # MariaDB's ANALYZE answers with rows, which have to be taken
            cursor.fetchall()


def require_all_complete(jobs: int) -> None:
    """A figure counts only if the work was done."""
    complete = Job.objects.filter(state=Job.STATES.COMPLETE, next_task="").count()
    assert complete == jobs, f"{complete} of {jobs} jobs are COMPLETE"
