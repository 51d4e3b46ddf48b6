"""What went wrong: one row per failed attempt."""

from __future__ import annotations

from django.db import models


class Attempt(models.Model):
    """A failed try at one task of a job, kept until the job is deleted for its age.

    `job_id` is no foreign key: a constraint would make each failure lock the job's row. So who
    deletes jobs in another way deletes these, too.
    """

    id = models.BigAutoField(primary_key=True)
    job_id = models.UUIDField(db_index=True)
    job_name = models.CharField(max_length=255)
    task = models.CharField(max_length=255, help_text="Dotted path of the task that was tried.")
    number = models.IntegerField(help_text="1 for the first try at this task.")
    exception = models.CharField(max_length=255, help_text="Dotted path of its class.")
    message = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    worker = models.CharField(max_length=255, blank=True, help_text="Host and process id.")
    worker_id = models.BigIntegerField(null=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()

    class Meta:
        verbose_name = "failed attempt"
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.job_name}: {self.task} failed with {self.exception}"
