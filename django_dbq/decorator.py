"""`@job`: a job that is declared beside the function that does it.

    from django_dbq import job

    @job(queue_name="reports", retry=3)
    def report(job):
        ...

    report.enqueue(month="2031-05")

Modules of jobs are imported before all models are ready: none is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

from django.utils import timezone

from django_dbq.durations import Duration
from django_dbq.exceptions import InvalidDeclaration, UnknownJobOption
from django_dbq.rules.declarations import JobDeclaration, declare
from django_dbq.rules.due import as_due
from django_dbq.rules.options import LONGEST_NAME, PARSERS

if TYPE_CHECKING:
    from django_dbq.models import Job

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

OPTIONS = ("name", *(key for key in PARSERS if key != "tasks"))


@dataclass(frozen=True)
class Enqueuer:
    """Enqueues jobs of one name, all with this queue, priority and time, where they are given."""

    job_name: str
    queue_name: str | None = None
    priority: int | None = None
    run_after: datetime | None = None

    def using(
        self,
        *,
        queue_name: str | None = None,
        priority: int | None = None,
        run_after: datetime | timedelta | None = None,
    ) -> Enqueuer:
        """The same job with other values; `run_after` may also be a timedelta from now."""
        run_after = as_due(run_after, now=timezone.now())
        return Enqueuer(
            self.job_name,
            self.queue_name if queue_name is None else queue_name,
            self.priority if priority is None else priority,
            self.run_after if run_after is None else run_after,
        )

    def enqueue(self, /, **workspace: Any) -> Job:
        """Enqueue a job with this workspace, in which any name may be a key.

        It belongs to the caller's transaction. Raises what `queue.enqueue` does.
        """
        from django_dbq import queue

        return queue.enqueue(self.job_name, workspace, **self._values)

    def enqueue_many(self, workspaces: Iterable[dict[str, Any] | None]) -> int:
        """Enqueue a job for each workspace, all or none, in order; returns how many."""
        from django_dbq import queue

        return queue.enqueue_many(self.job_name, workspaces, **self._values)

    @property
    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("queue_name", "priority", "run_after")}


class DeclaredJob(Protocol[R_co]):
    """What `@job` makes of a function: the same function, which can also be enqueued."""

    job_name: str

    def __call__(self, job: Any) -> R_co:
        """Call the function itself, here and now."""

    def enqueue(self, /, **workspace: Any) -> Job:
        """See `Enqueuer.enqueue`."""

    def enqueue_many(self, workspaces: Iterable[dict[str, Any] | None]) -> int:
        """See `Enqueuer.enqueue_many`."""

    def using(
        self,
        *,
        queue_name: str | None = None,
        priority: int | None = None,
        run_after: datetime | timedelta | None = None,
    ) -> Enqueuer:
        """See `Enqueuer.using`."""


@overload
def job(function: Callable[[Any], R], /) -> DeclaredJob[R]: ...


@overload
def job(
    *,
    name: str = ...,
    failure_hook: str | None = ...,
    creation_hook: str | None = ...,
    pre_task_hook: str | None = ...,
    post_task_hook: str | None = ...,
    retry: dict[str, Any] | int | str | None = ...,
    retry_hook: str | None = ...,
    timeout: Duration | None = ...,
    grace: Duration = ...,
    isolation: str = ...,
    atomic: bool = ...,
    queue_name: str = ...,
    priority: int = ...,
    unique: bool | str | Collection[str] = ...,
) -> Callable[[Callable[[Any], R]], DeclaredJob[R]]: ...


def job(function: Any = None, /, **options: Any) -> Any:
    """Declare a job of one task, the function below: `@job`, or `@job(retry=3, …)`.

    Takes the keys of an entry of `settings.JOBS` except `tasks`, and a `name`. Without one, the
    name of the job is the function's dotted path, which no other app has. Raises InvalidDeclaration
    where it stands if an option makes no sense. A name that is declared twice is reported by
    `manage.py check`, and raises InvalidDeclaration when it is used.
    """

    def declared(function: Any) -> Any:
        path = _path_of(function)
        declaration = _declaration(path, **options)
        _require_one_name(function, path, declaration.name)
        declare(declaration)
        enqueuer = Enqueuer(declaration.name)
        function.job_name = declaration.name
        function.enqueue, function.enqueue_many = enqueuer.enqueue, enqueuer.enqueue_many
        function.using = enqueuer.using
        return cast("DeclaredJob[Any]", function)

    return declared if function is None else declared(function)


def _path_of(function: Any) -> str:
    name = getattr(function, "__qualname__", "")
    if not callable(function) or isinstance(function, type) or not name:
        raise InvalidDeclaration(
            f"@job stands on {function!r}.",
            hint="It should stand on a function. A name is given as @job(name=…).",
        )
    path = f"{function.__module__}.{name}"
    if not name.isidentifier():
        raise InvalidDeclaration(
            f"@job stands on {path}, which no worker could import.",
            hint="The function should stand by itself in its module, in no class or function.",
        )
    return path


def _require_one_name(function: Any, path: str, name: str) -> None:
    former = getattr(function, "job_name", name)
    if former != name:
        raise InvalidDeclaration(
            f"{path} is job {former!r}, and @job calls it {name!r}.",
            hint="A function has one name to be enqueued by. Declare other names in settings.JOBS.",
        )


def _declaration(path: str, *, name: Any = None, **options: Any) -> JobDeclaration:
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        hint = f"The known ones are: {', '.join(OPTIONS)}."
        if "tasks" in unknown:
            hint = f"A job of several tasks is declared in settings.JOBS. {hint}"
        raise UnknownJobOption(f"@job of {path} has unknown keys: {', '.join(unknown)}.", hint=hint)
    if name is None:
        name = path
    elif not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise InvalidDeclaration(
            f"@job(name=…) of {path} holds {name!r}.",
            hint=f"It should be a text of at most {LONGEST_NAME} characters.",
        )
    given = {"tasks": [path], **options}
    values = {key: PARSERS[key](f"@job({key}=…) of {path}", given[key]) for key in given}
    return JobDeclaration(name, **values)
