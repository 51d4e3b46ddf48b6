"""Put jobs in: one, or any number. They belong to the caller's transaction like any other row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import router, transaction

from django_dbq.engines import engine_for
from django_dbq.models import Job

INSERTED_AT_ONCE = 1_000


def enqueue(
    name: str,
    workspace: dict[str, Any] | None = None,
    *,
    queue_name: str = "default",
    priority: int = 0,
    run_after: datetime | None = None,
    using: str | None = None,
) -> Job:
    """Enqueue one job: the same as `Job.objects.create(...)`, which says what it raises."""
    job = Job(
        name=name,
        workspace=workspace,
        queue_name=queue_name,
        priority=priority,
        run_after=run_after,
    )
    job.save(using=using)
    return job


def enqueue_many(
    name: str,
    workspaces: Iterable[dict[str, Any] | None],
    *,
    queue_name: str = "default",
    priority: int = 0,
    run_after: datetime | None = None,
    using: str | None = None,
) -> int:
    """Enqueue a job for each workspace of any iterable; returns how many.

    All or nothing, in memory that does not grow with their number. PostgreSQL takes them by COPY
    (with psycopg 3) unless the job has a creation hook, which needs each job as an object.
    """
    alias = using or router.db_for_write(Job)

    def job(workspace: dict[str, Any] | None) -> Job:
        return Job(
            name=name,
            workspace=workspace,
            queue_name=queue_name,
            priority=priority,
            run_after=run_after,
        )

    template = job(None)
    with transaction.atomic(using=alias):
        if not template.declaration.creation_hook:
            return engine_for(alias).insert_alike(template, workspaces)
        jobs = Job.objects.using(alias)
        return sum(
            len(jobs.bulk_create([job(workspace) for workspace in batch]))
            for batch in _batches(workspaces)
        )


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, INSERTED_AT_ONCE)), [])
