"""Put jobs in: one, or any number. They belong to the caller's transaction like any other row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import router, transaction

from django_dbq.engines import engine_for
from django_dbq.exceptions import InvalidJob
from django_dbq.models import Job


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

    All or nothing, in order, in memory that does not grow with their number. By COPY on PostgreSQL
    and by INSERTs of many rows elsewhere, unless the job has a creation hook, which needs each job
    as an object.
    """
    if isinstance(workspaces, (Mapping, str, bytes)):
        raise InvalidJob(
            "workspaces", f"they are a {type(workspaces).__name__}, not one dict for each job."
        )
    alias = using or router.db_for_write(Job)
    template = Job(name=name, queue_name=queue_name, priority=priority, run_after=run_after)
    with transaction.atomic(using=alias):
        return engine_for(alias).insert_alike(template, workspaces)
