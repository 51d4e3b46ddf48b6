"""The tables: jobs, the workers that run them, and the attempts that failed."""

from __future__ import annotations

from django_dbq.models.attempt import Attempt
from django_dbq.models.job import DEFAULT_DELETE_JOBS_AFTER_HOURS, Job
from django_dbq.models.worker import WorkerProcess

__all__ = ["DEFAULT_DELETE_JOBS_AFTER_HOURS", "Attempt", "Job", "WorkerProcess"]
