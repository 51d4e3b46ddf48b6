"""The verbs of the index: begin anew, enqueue what there is to read, look at how far it is."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, Max, Min
from django.utils import timezone

from django_dbq import queue
from django_dbq.models import Job
from example.catalog import library
from example.catalog.models import Definition, Failure, Import, Module, Summary

UNFINISHED = (
    Job.STATES.NEW,
    Job.STATES.READY,
    Job.STATES.PROCESSING,
    Job.STATES.STOPPING,
)
LAST = -10  # after everything else that is due


def start_over() -> None:
    """Empty the index and the queue.

    Rows are deleted, not the file: a page or a worker that has it open stays valid.
    """
    with transaction.atomic():
        for model in (Definition, Import, Module, Failure, Summary, Job):
            model.objects.all().delete()


def enqueue_modules(packages: Collection[str] = ()) -> int:
    """One job for each module of the library, or of the named packages only."""
    return queue.enqueue_many(
        "index_module", ({"path": path} for path in library.module_paths(packages))
    )


def enqueue_module(path: str) -> Job:
    return queue.enqueue("index_module", {"path": path})


def schedule_summary(after: timedelta) -> Job:
    """Have what was found counted, not before `after` has passed and not before it is found.

    The one is `run_after`. The other is the priority: a due job of the lowest priority waits
    until no other job does.
    """
    return queue.enqueue("summarize", run_after=timezone.now() + after, priority=LAST)


def jobs_by_state(**criteria: object) -> dict[str, int]:
    counts = Job.objects.filter(**criteria).order_by("state").values_list("state")
    return dict(counts.annotate(Count("pk")))


def count_unfinished_modules() -> int:
    return Job.objects.filter(name="index_module", state__in=UNFINISHED).count()


def jobs_and_seconds() -> tuple[int, float]:
    """How many modules were read, and the time from the first job's start to the last one's end."""
    modules = Job.objects.filter(name="index_module", finished_at__isnull=False)
    times = modules.aggregate(began=Min("started_at"), ended=Max("finished_at"), count=Count("pk"))
    if not times["count"]:
        return 0, 0.0
    return times["count"], (times["ended"] - times["began"]).total_seconds()
