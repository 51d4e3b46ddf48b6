"""Who is working: one row per worker process."""

from __future__ import annotations

from datetime import datetime

from django.db import models

from django_dbq.clock import as_stored


class WorkerQuerySet(models.QuerySet["WorkerProcess"]):
    def silent_since(self, moment: datetime) -> WorkerQuerySet:
        """Workers whose last heartbeat came before `moment`, on the database's clock."""
        return self.filter(last_seen__lt=as_stored(moment))

    def heard_since(self, moment: datetime) -> WorkerQuerySet:
        """Workers that have sent a heartbeat since `moment`, on the database's clock."""
        return self.filter(last_seen__gte=as_stored(moment))


class WorkerProcess(models.Model):
    """A worker process, from its start until it has left or was found dead.

    Its id is the owner written to the jobs that it claims, and is never used again.
    """

    id = models.BigAutoField(primary_key=True)
    hostname = models.CharField(max_length=255)
    pid = models.IntegerField()
    queues = models.JSONField(default=list, help_text="The queues it serves, in order.")
    threads = models.SmallIntegerField(default=1, help_text="How many jobs it runs at a time.")
    session = models.CharField(
        max_length=200,
        default="",
        help_text="What tells others at once that its supervisor is gone; empty: heartbeats alone.",
    )
    started_at = models.DateTimeField()
    last_seen = models.DateTimeField(help_text="Its last heartbeat, on the database's clock.")
    parked_at = models.DateTimeField(
        null=True, help_text="Since when it sleeps until somebody rings; empty: it looks by itself."
    )

    objects = WorkerQuerySet.as_manager()

    class Meta:
        verbose_name = "worker"

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"
