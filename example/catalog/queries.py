"""What the pages ask the database."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Case, Count, IntegerField, Max, QuerySet, Sum, Value, When
from django.utils import timezone

from django_dbq.models import Attempt, Job, WorkerProcess
from example.catalog import index
from example.catalog.models import Definition, Failure, Import, Module

SORTS = {
    "name": ("name", "path"),
    "lines": ("-lines", "name"),
    "classes": ("-classes", "name"),
    "functions": ("-functions", "name"),
}


def totals() -> dict[str, int]:
    sums = Module.objects.aggregate(
        lines=Sum("lines", default=0),
        classes=Sum("classes", default=0),
        functions=Sum("functions", default=0),
    )
    return {
        "modules": Module.objects.count(),
        "imports": Import.objects.count(),
        "failures": Failure.objects.count(),
        **sums,
    }


def biggest_modules(limit: int) -> QuerySet[Module]:
    return Module.objects.order_by("-lines", "name")[:limit]


def most_imported(limit: int) -> list[dict]:
    """The modules that most others import; `path` is there when the library has the module."""
    counted = Import.objects.order_by().values("target").annotate(importers=Count("pk"))
    top = list(counted.order_by("-importers", "target")[:limit])
    paths = dict(
        Module.objects.filter(name__in=[row["target"] for row in top]).values_list("name", "path")
    )
    return [{**row, "path": paths.get(row["target"])} for row in top]


def most_defined(limit: int) -> QuerySet:
    """The names that most definitions share."""
    counted = Definition.objects.order_by().values("name").annotate(times=Count("pk"))
    return counted.order_by("-times", "name")[:limit]


def modules_named(text: str) -> QuerySet[Module]:
    return Module.objects.filter(name__icontains=text).order_by(_closeness(text), "name")


def definitions_named(text: str) -> QuerySet[Definition]:
    found = Definition.objects.filter(name__icontains=text).select_related("module")
    return found.order_by(_closeness(text), "name", "module__name", "line")


def _closeness(text: str) -> Case:
    """The name itself before names that begin with it, and those before the rest."""
    return Case(
        When(name__iexact=text, then=Value(0)),
        When(name__istartswith=text, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )


def importers_of(module: Module) -> QuerySet[Module]:
    return Module.objects.filter(imports__target=module.name).order_by("name")


def imports_of(module: Module) -> list[dict]:
    """What a module imports; `path` is there when the library has it."""
    targets = list(module.imports.values_list("target", flat=True))
    paths = dict(Module.objects.filter(name__in=targets).values_list("name", "path"))
    return [{"target": target, "path": paths.get(target)} for target in targets]


STATES_IN_ORDER = (  # of a progress bar: what is over, what runs, what waits
    Job.STATES.COMPLETE,
    Job.STATES.FAILED,
    Job.STATES.CANCELLED,
    Job.STATES.PROCESSING,
    Job.STATES.STOPPING,
    Job.STATES.READY,
    Job.STATES.NEW,
)


@dataclass(frozen=True)
class StateCount:
    state: str
    count: int


@dataclass(frozen=True)
class QueueState:
    states: list[StateCount]
    total: int
    unfinished: int
    """Jobs that are yet to run, or running, and not waiting for a time ahead."""
    scheduled: list[Job]


def queue_state() -> QueueState:
    counts = index.jobs_by_state()
    unfinished = Job.objects.filter(state__in=index.UNFINISHED)
    scheduled = unfinished.filter(run_after__gt=timezone.now()).order_by("run_after")
    return QueueState(
        states=[
            StateCount(state.value, counts[state]) for state in STATES_IN_ORDER if state in counts
        ],
        total=sum(counts.values()),
        unfinished=unfinished.count() - scheduled.count(),
        scheduled=list(scheduled),
    )


def next_jobs(limit: int) -> QuerySet[Job]:
    """The jobs that run next, in the order in which they will."""
    waiting = Job.objects.filter(state__in=(Job.STATES.NEW, Job.STATES.READY))
    return waiting.exclude(run_after__gt=timezone.now()).order_by("-priority", "created")[:limit]


def last_jobs(limit: int) -> QuerySet[Job]:
    finished = Job.objects.filter(finished_at__isnull=False)
    return finished.order_by("-finished_at")[:limit]


def workers() -> QuerySet[WorkerProcess]:
    return WorkerProcess.objects.order_by("pk")


def attempts_of(failures: list[Failure]) -> dict:
    """The package's own record of the last failed attempt of each of these jobs, by job id."""
    job_ids = [failure.job_id for failure in failures]
    last = Attempt.objects.filter(job_id__in=job_ids).order_by("job_id").values("job_id")
    last_ids = last.annotate(last=Max("pk")).values_list("last", flat=True)
    return {attempt.job_id: attempt for attempt in Attempt.objects.filter(pk__in=list(last_ids))}
