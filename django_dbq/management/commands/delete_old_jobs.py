"""Delete jobs that nobody needs any more."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand
from django.db import router

from django_dbq.management.ready import ready_engine
from django_dbq.models import DEFAULT_DELETE_JOBS_AFTER_HOURS, Job


class Command(BaseCommand):
    help = "Delete finished jobs that were created more than some hours ago."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--hours",
            type=_hours,
            help=f"Age from which on they go (default: {DEFAULT_DELETE_JOBS_AFTER_HOURS}).",
        )
        parser.add_argument("--database", help="Alias of the database to delete from.")

    def handle(
        self, *args: Any, hours: float | None, database: str | None = None, **options: Any
    ) -> None:
        ready_engine(database or router.db_for_write(Job))
        jobs = Job.objects.using(database) if database else Job.objects
        jobs.delete_old(hours=hours)
        self.stdout.write("Deleted old jobs")


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of hours; use 0 or more.")
    return hours
