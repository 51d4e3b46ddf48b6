"""Put jobs in: one, or any number. They belong to the caller's transaction like any other row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Union, overload

from asgiref.sync import sync_to_async
from django.db import router, transaction
from django.utils import timezone

from django_dbq.engines import engine_for
from django_dbq.exceptions import InvalidJob
from django_dbq.models import Job
from django_dbq.queue.django_tasks import enqueue_tasks
from django_dbq.rules.due import as_due

if TYPE_CHECKING:
    from typing import Protocol

    from typing_extensions import ParamSpec, TypedDict, Unpack

    P = ParamSpec("P")

    class Options(TypedDict, total=False):
        """What may be said of jobs that are enqueued by their name; see `enqueue`."""

        queue_name: str | None
        priority: int | None
        run_after: datetime | timedelta | None
        using: str | None

    class Enqueueable(Protocol[P]):
        """A Django task, or a function with `@job`."""

        def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


# A Django task, its positional arguments, and its keyword arguments if there are any.
Call = Union[tuple[Any, Sequence[Any]], tuple[Any, Sequence[Any], Mapping[str, Any]]]
NOT_GIVEN: Any = object()


def enqueue(
    name: str,
    workspace: dict[str, Any] | None = None,
    *,
    queue_name: str | None = None,
    priority: int | None = None,
    run_after: datetime | timedelta | None = None,
    using: str | None = None,
) -> Job:
    """Enqueue one job: the same as `Job.objects.create(...)`, which says what it raises.

    A queue or a priority that is not given is the one that the job declares. `run_after` may also
    be a timedelta: from now on. If the job is declared `unique` and the same one waits or runs
    already, that one is returned, as it is.
    """
    job = _job(name, queue_name, priority, run_after)
    job.workspace = workspace
    return job.save_or_find(using=using)


@overload
def enqueue_many(
    name: str,
    workspaces: Iterable[dict[str, Any] | None],
    **options: Unpack[Options],
) -> int: ...


@overload
def enqueue_many(calls: Iterable[Call], /) -> int: ...


def enqueue_many(name: Any, workspaces: Any = NOT_GIVEN, **options: Any) -> int:
    """Enqueue a job for each workspace of any iterable, or Django tasks; returns how many.

        enqueue_many("report", [{"month": 5}, {"month": 6}], queue_name="reports")
        enqueue_many([(send, [1]), (send, [2], {"cc": "you"}), (sweep.using(priority=5), [])])

    All or none of them, in order, in memory that does not grow with their number. By COPY on
    PostgreSQL and by INSERTs of many rows elsewhere, unless the job has a creation hook or is
    unique: then each is made as an object. Unique ones that are there already are left out, and not
    counted. What the `enqueue` of a Django task refuses is refused here, too, and Django's signal
    `task_enqueued` is not sent. A task of another backend than ours is given to that backend.
    """
    if isinstance(name, str):
        return _enqueue_alike(name, workspaces, **options)
    if workspaces is not NOT_GIVEN or options:
        raise TypeError(
            "enqueue_many takes a name and workspaces, or Django tasks and nothing else; what is "
            "said of a task is said by task.using(…)."
        )
    return enqueue_tasks(name)


@overload
async def aenqueue_many(
    name: str,
    workspaces: Iterable[dict[str, Any] | None],
    **options: Unpack[Options],
) -> int: ...


@overload
async def aenqueue_many(calls: Iterable[Call], /) -> int: ...


async def aenqueue_many(name: Any, workspaces: Any = NOT_GIVEN, **options: Any) -> int:
    """`enqueue_many` from async code, for which Django has no transactions: in a thread."""
    return await sync_to_async(enqueue_many)(name, workspaces, **options)


@overload
def enqueue_on_commit(
    name: str,
    /,
    workspace: dict[str, Any] | None = ...,
    **options: Unpack[Options],
) -> None: ...


@overload
def enqueue_on_commit(task: Enqueueable[P], /, *args: P.args, **kwargs: P.kwargs) -> None: ...


def enqueue_on_commit(task: Any, /, *args: Any, **kwargs: Any) -> None:
    """Enqueue once the caller's transaction on the default database is committed.

    `task` is a job's name, a function with `@job` or a Django task; the rest is what its `enqueue`
    takes. This is seldom needed: a plain `enqueue` inserts a row in the caller's transaction, so
    that the job exists if and only if that is committed, and no worker sees it before. A process
    that dies right after its commit loses what it would have enqueued here. This is for jobs that
    are kept in another database than the data, and for code that expects it.
    """
    enqueue_it = partial(enqueue, task) if isinstance(task, str) else task.enqueue
    transaction.on_commit(partial(enqueue_it, *args, **kwargs))


def _enqueue_alike(
    name: str,
    workspaces: Iterable[dict[str, Any] | None],
    *,
    queue_name: str | None = None,
    priority: int | None = None,
    run_after: datetime | timedelta | None = None,
    using: str | None = None,
) -> int:
    if workspaces is NOT_GIVEN:
        raise TypeError("enqueue_many() of a name takes workspaces, one for each job.")
    if isinstance(workspaces, (Mapping, str, bytes)):
        raise InvalidJob(
            "workspaces", f"they are a {type(workspaces).__name__}, not one dict for each job."
        )
    alias = using or router.db_for_write(Job)
    template = _job(name, queue_name, priority, run_after)
    with transaction.atomic(using=alias):
        return engine_for(alias).insert_alike(template, workspaces)


def _job(
    name: str,
    queue_name: str | None,
    priority: int | None,
    run_after: datetime | timedelta | None,
) -> Job:
    if not isinstance(name, str):
        raise TypeError(
            f"A job is enqueued by its name, not by {name!r:.200}. What @job or @task declares is "
            "enqueued by its own enqueue()."
        )
    run_after = as_due(run_after, now=timezone.now())
    job = Job(name=name, run_after=run_after)
    if queue_name is not None:
        job.queue_name = queue_name
    if priority is not None:
        job.priority = priority
    return job
