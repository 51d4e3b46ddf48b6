"""Tables of other queues, as far as jobs are adopted from them. Nothing of theirs is imported."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from django.apps.registry import Apps
from django.conf import settings
from django.db import models


class TasksDBRow(models.Model):
    """A row of django-tasks-db, from its migration 0016 on.

    In a registry of its own, so that no migration, check or relation of the project sees it.
    """

    WAITING, RUNNING, FAILED = "READY", "RUNNING", "FAILED"
    SUCCESSFUL = ("SUCCESSFUL", "SUCCEEDED")  # the second before its migration 0018

    id = models.UUIDField(primary_key=True)
    status = models.CharField(max_length=10)
    enqueued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    args_kwargs = models.JSONField()
    priority = models.IntegerField()
    task_path = models.TextField()
    worker_ids = models.JSONField()
    queue_name = models.CharField(max_length=32)
    backend_name = models.CharField(max_length=32)
    run_after = models.DateTimeField()
    return_value = models.JSONField(null=True)
    exception_class_path = models.TextField()
    traceback = models.TextField()

    class Meta:
        apps = Apps()
        app_label = "django_tasks_database"
        db_table = "django_tasks_database_dbtaskresult"
        managed = False

    def __str__(self) -> str:
        return f"{self.task_path} ({self.pk}, {self.status})"

    @staticmethod
    def at_once() -> datetime:
        """What stands in `run_after` for a task that may run at once."""
        return datetime(9999, 1, 1, tzinfo=timezone.utc if settings.USE_TZ else None)

    @property
    def due(self) -> datetime | None:
        """`run_after`, or None for a task that may run at once."""
        # A day: whatever time zone the connection has, and had when the row was written.
        is_at_once = abs(self.run_after - self.at_once()) <= timedelta(days=1)
        return None if is_at_once else self.run_after
