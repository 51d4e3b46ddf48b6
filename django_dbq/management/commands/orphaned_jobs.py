"""Jobs that are running, says their row, but whose worker nobody knows."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import router
from django.template.defaultfilters import pluralize

from django_dbq.management.ready import ready_engine
from django_dbq.models import Job


class Command(BaseCommand):
    help = (
        "List jobs that are PROCESSING or STOPPING without an owner. A worker of version 3.3 is "
        "running them, or died doing so: only a person can tell, so they are never rescued."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job_id", nargs="*", default=[], help="Only these jobs (default: all).")
        parser.add_argument(
            "--requeue",
            action="store_true",
            help="Give them back to the queue. Make sure first that no 3.3 worker still runs.",
        )
        parser.add_argument("--database", help="Alias of the database to look in.")

    def handle(
        self,
        *args: Any,
        job_id: list[str],
        requeue: bool,
        database: str | None = None,
        **options: Any,
    ) -> None:
        engine = ready_engine(database or router.db_for_write(Job))
        wanted = {str(given).replace("-", "").lower() for given in job_id}
        ids = [pk for pk in engine.orphans() if not wanted or pk.hex in wanted]
        for job in engine.jobs.filter(pk__in=ids).order_by("created"):
            self.stdout.write(
                f"id={job.pk} name={job.name} queue={job.queue_name} state={job.state} "
                f"task={job.next_task} modified={job.modified.isoformat()}"
            )
        if requeue:
            count = engine.requeue_orphans(ids, now=engine.now())
            self.stdout.write(f"Requeued {count} job{pluralize(count)}")
        else:
            self.stdout.write(f"{len(ids)} job{pluralize(len(ids))} without an owner")
