"""Django's Tasks API on our rows.

    TASKS = {"default": {"BACKEND": "django_dbq.task_backend.DatabaseBackend"}}

Django tasks become jobs, in the same table and for the same workers. On Django before 6.0 the API
comes from the package django-tasks. Where Django's own and that one are both in use, each gets a
backend of its own kind.

Apps that declare tasks import this module before any model is ready, so it imports none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Coroutine
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.utils import timezone
from django.utils.crypto import get_random_string

from django_dbq.exceptions import InvalidDeclaration, InvalidMetadata
from django_dbq.rules.django_tasks import POLICY, declaration_of_task
from django_dbq.rules.due import as_due
from django_dbq.rules.metadata import as_metadata, task_context_class, task_result_class
from django_dbq.rules.worlds import BACKPORT, SLOTS, WORLDS, World

if TYPE_CHECKING:
    from typing import Literal, Protocol, overload

    from django.tasks.base import Task as DjangoTask
    from django.tasks.base import TaskContext as DjangoTaskContext
    from django.tasks.base import TaskResult as DjangoTaskResult
    from typing_extensions import Concatenate, ParamSpec, TypedDict, TypeVar, Unpack

if not WORLDS:
    raise ImproperlyConfigured(
        "Django's Tasks API is not to be had: Django 6.0 brings it, and before that the package "
        "django-tasks does. Run: pip install 'django-db-queue[tasks]'."
    )

HOME = WORLDS[0]  # Django's own, where it is
NO_APP = "TASKS names django_dbq's backend, and its app is not installed."
INSTALL_IT = "Add 'django_dbq' to INSTALLED_APPS and run: manage.py migrate."
CHANGED_BY_USING = ("priority", "queue_name", "run_after", "backend", "metadata")


def _task_class(world: World, name: str) -> Any:
    @dataclass(frozen=True, kw_only=True, **SLOTS)  # type: ignore[call-overload, misc, unused-ignore]
    class Task(world.base.Task):  # type: ignore[name-defined, misc]
        """A Django task that may say how it is to be run, in the words of Django's open proposals.

        `max_attempts` is how often it is tried: if not given once, with a `backoff` five times.
        `backoff` is the wait before the second try, in seconds or as a timedelta, doubled for each
        further one; or a function `backoff(exception, task_result)` that returns it, or None for no
        other try. `retry` says both in the way of `settings.JOBS`; `timeout`, `grace`, `isolation`,
        `atomic` and `unique` are those of `settings.JOBS`, too. `metadata` is what a job begins
        with.
        """

        retry: Any = None
        max_attempts: int | None = None
        backoff: Any = None
        timeout: float | timedelta | None = None
        grace: float | timedelta | None = None
        isolation: str | None = None
        atomic: bool | None = None
        unique: Any = None
        metadata: dict[str, Any] = field(default_factory=dict, hash=False)

        def __post_init__(self) -> None:
            world.base.Task.__post_init__(self)
            if self.metadata and not getattr(self.get_backend(), "supports_metadata", False):
                raise world.invalid_task("Backend does not support metadata.")

        def using(self, *, run_after: datetime | timedelta | None = None, **changes: Any) -> Any:
            """The same task with other values; `run_after` may also be a timedelta from now."""
            for key in changes:
                if key not in CHANGED_BY_USING:
                    raise TypeError(f"using() got an unexpected keyword argument {key!r}")
            run_after = as_due(run_after, now=timezone.now())
            given = {"run_after": run_after, **changes}
            return replace(
                self, **{key: value for key, value in given.items() if value is not None}
            )

        def call(self, *args: Any, **kwargs: Any) -> Any:
            """Call the function.

            With a context of Django's own, such as its ImmediateBackend makes, for one of ours.
            There is nowhere to save metadata then; what could not be saved is refused all the same.
            """
            if not (args and type(args[0]) is world.base.TaskContext):
                return world.base.Task.call(self, *args, **kwargs)
            kind = task_context_class(world)
            context = kind(task_result=args[0].task_result, _save=lambda metadata: None)
            returned = world.base.Task.call(self, context, *args[1:], **kwargs)
            as_metadata(context.metadata, world)
            return returned

    Task.__name__ = Task.__qualname__ = name  # where pickle looks for it
    return Task


Task = _task_class(HOME, "Task")


class _Declaring:
    """What our backends have in common: tasks that say how they are to be run."""

    supports_metadata = True

    alias: str
    world: World
    of_backport: Any = None  # the same class for the tasks of the backport, where both are in use

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # Both packages read the same setting. The backport's tasks are to have its classes, and
        # send its signals; and who asks for a backend is all that tells whose they are. A subclass
        # of the project's is what it is.
        of_backport = cls.__dict__.get("of_backport")
        if of_backport is not None and _is_asked_by(BACKPORT):
            return of_backport(*args, **kwargs)
        return super().__new__(cls)

    def validate_task(self, task: Any) -> None:
        queues: set[str] = self.queues  # type: ignore[attr-defined]
        if queues and task.queue_name not in queues:
            raise self.world.invalid_task(
                f"Queue '{task.queue_name}' is not valid for backend. Add it to "
                f"settings.TASKS['{self.alias}']['QUEUES']; an empty list there allows any name."
            )
        super().validate_task(task)  # type: ignore[misc]
        try:
            declaration_of_task(task)
            self.metadata_of(task)
        except (InvalidDeclaration, InvalidMetadata) as error:
            raise self.world.invalid_task(str(error)) from error

    def metadata_of(self, task: Any) -> dict[str, Any]:
        """A copy of it; raises InvalidMetadata. A task that another backend declares has none."""
        metadata = getattr(task, "metadata", {})
        return {} if metadata == {} else as_metadata(metadata, self.world)


class _Enqueueing(_Declaring):
    """Enqueues Django tasks as jobs, and reads what has become of them."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Insert the job, in the caller's transaction; returns its `TaskResult`.

        If a `unique` task is there already, returns the result of that one: then nothing was
        written, and no signal sent. Raises InvalidTask; TypeError or ValueError for arguments that
        JSON cannot express. Then nothing was written either.
        """
        from django_dbq.queue.results import result_of, unfinished_result

        job = self.template_of(task)
        job.workspace = self.workspace_of(task, args, kwargs)
        saved = job.save_or_find()
        if saved is not job:
            return result_of(saved)
        result = unfinished_result(job, task, self.world, [])
        self.world.signals.task_enqueued.send(type(self), task_result=result)
        return result

    def template_of(self, task: Any) -> Any:
        """A job like all of this task, but for the workspace; raises InvalidTask."""
        _require_app()
        from django_dbq.models import Job

        self.validate_task(task)
        return Job(
            name=task.module_path,
            backend=self.alias,
            queue_name=task.queue_name,
            priority=int(task.priority),
            run_after=task.run_after,
        )

    def workspace_of(self, task: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        """Arguments and metadata as a job keeps them; raises TypeError or ValueError."""
        normalize_json = self.world.normalize_json
        workspace = {"args": normalize_json(args), "kwargs": normalize_json(kwargs)}
        metadata = self.metadata_of(task)
        return {**workspace, "metadata": metadata} if metadata else workspace

    def get_result(self, result_id: str) -> Any:
        """What has become of a Django task, of any backend of ours.

        Raises TaskResultDoesNotExist; and where the code has changed since, DjangoTaskNotFound,
        UnregisteredTask or InvalidDeclaration, because the task cannot be had any more.
        """
        _require_app()
        from django_dbq.models import Job
        from django_dbq.queue.results import result_of

        try:
            # Where it was enqueued: a replica may not know of it yet.
            jobs = Job.objects.using(router.db_for_write(Job))
            job = jobs.get(pk=UUID(str(result_id)), backend__isnull=False)
        except (ValueError, Job.DoesNotExist):
            raise self.world.result_does_not_exist(result_id) from None
        return result_of(job)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        if apps.is_installed("django_dbq"):
            return []
        return [checks.Error(NO_APP, hint=INSTALL_IT, id="django_dbq.E008")]


class DatabaseBackend(_Enqueueing, HOME.backends.BaseTaskBackend):  # type: ignore[misc, name-defined]
    """Enqueues Django tasks as jobs, and reads what has become of them."""

    world, task_class = HOME, Task


def _require_app() -> None:
    # Django asks for its check only where somebody has imported the tasks by then.
    if not apps.is_installed("django_dbq"):
        raise ImproperlyConfigured(f"{NO_APP} {INSTALL_IT}")


def _is_asked_by(world: World) -> bool:
    """Whether the caller of our caller is of this package."""
    return bool(sys._getframe(2).f_globals.get("__name__") == world.package)


# For tests: Django's own two, with tasks that say how they are to be run


def _double_of(world: World, name: str) -> Any:
    """Django's own backend of this name."""
    return getattr(import_module(f"{world.package}.backends.{name.lower()}"), f"{name}Backend")


class _Double(_Declaring):
    """Makes results that have metadata, as Django's own do not."""

    def _result_of(self, task: Any, args: Any, kwargs: Any) -> Any:
        self.validate_task(task)
        return task_result_class(self.world)(
            task=task,
            id=get_random_string(32),
            status=self.world.base.TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
            metadata=self.metadata_of(task),
        )


class _Immediate(_Double):
    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Returns the result, when the task has ended."""
        result = self._result_of(task, args, kwargs)
        self._execute_task(result)  # type: ignore[attr-defined]
        return result


class _Dummy(_Double):
    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Returns a copy of the result that is kept."""
        result = self._result_of(task, args, kwargs)
        self.results.append(result)  # type: ignore[attr-defined]
        self.world.signals.task_enqueued.send(type(self), task_result=result)
        return deepcopy(result)


class ImmediateBackend(_Immediate, _double_of(HOME, "Immediate")):  # type: ignore[misc]
    """Runs a task where it is enqueued, once, whatever it declares."""

    world, task_class = HOME, Task


class DummyBackend(_Dummy, _double_of(HOME, "Dummy")):  # type: ignore[misc]
    """Runs nothing, and keeps the results of what was enqueued."""

    world, task_class = HOME, Task


# The same for the backport, where Django has an API of its own

BackportTask: Any = None
BackportTaskContext: Any = None
BackportTaskResult: Any = None
BackportBackend: Any = None
if HOME is not BACKPORT and BACKPORT in WORLDS:
    BackportTask = _task_class(BACKPORT, "BackportTask")
    BackportTaskContext = task_context_class(BACKPORT)
    BackportTaskResult = task_result_class(BACKPORT)
    of_backport = {"__module__": __name__, "world": BACKPORT, "task_class": BackportTask}
    BackportBackend = DatabaseBackend.of_backport = type(
        "BackportBackend", (_Enqueueing, BACKPORT.backends.BaseTaskBackend), of_backport
    )
    ImmediateBackend.of_backport = type(
        "BackportImmediateBackend", (_Immediate, _double_of(BACKPORT, "Immediate")), of_backport
    )
    DummyBackend.of_backport = type(
        "BackportDummyBackend", (_Dummy, _double_of(BACKPORT, "Dummy")), of_backport
    )


# The decorator


def _task(
    function: Callable[..., Any] | None = None, *, backend: str = "default", **options: Any
) -> Any:
    """Django's `@task`, which passes our options on from Django 6.1 on; this one does anywhere."""

    def declared(function: Callable[..., Any]) -> Any:
        kind = HOME.tasks.task_backends[backend].task_class
        unknown = options.keys() - {field.name for field in fields(kind)}
        if unknown and kind is not Task:
            raise ImproperlyConfigured(
                f"The tasks of settings.TASKS[{backend!r}] take no {', '.join(sorted(unknown))}; "
                f"those of 'django_dbq.task_backend.DatabaseBackend' take {', '.join(POLICY)}."
            )
        given = {"priority": 0, "queue_name": "default", "takes_context": False, **options}
        return kind(func=function, run_after=None, backend=backend, **given)

    return declared if function is None else declared(function)


if TYPE_CHECKING:  # what type checkers are to see; Django's types are those of django-stubs
    P = ParamSpec("P")
    R = TypeVar("R")

    class TaskContext(DjangoTaskContext[Any, Any]):
        @property
        def metadata(self) -> dict[str, Any]: ...
        def save_metadata(self) -> None: ...
        async def asave_metadata(self) -> None: ...

    class TaskResult(DjangoTaskResult[P, R]):
        metadata: dict[str, Any]

    class TypedTask(DjangoTask[P, R]):
        def using(
            self,
            *,
            priority: int | None = None,
            queue_name: str | None = None,
            run_after: datetime | timedelta | None = None,
            backend: str | None = None,
            metadata: dict[str, Any] | None = None,
        ) -> TypedTask[P, R]: ...
        def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[P, R]: ...
        async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskResult[P, R]: ...
        def get_result(self, result_id: str) -> TaskResult[P, R]: ...
        async def aget_result(self, result_id: str) -> TaskResult[P, R]: ...

    class Options(TypedDict, total=False):
        priority: int
        queue_name: str
        backend: str
        retry: Any
        max_attempts: int | None
        backoff: float | timedelta | Callable[[BaseException, Any], float | timedelta | None]
        timeout: float | timedelta | None
        grace: float | timedelta
        isolation: Literal["thread", "process"]
        atomic: bool
        unique: bool | str | Collection[str]

    class Declares(Protocol):
        """Of an async function, what it returns when it is awaited."""

        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> TypedTask[P, R]: ...
        @overload
        def __call__(self, function: Callable[P, R], /) -> TypedTask[P, R]: ...

    class DeclaresWithContext(Protocol):
        @overload
        def __call__(
            self,
            function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]],
            /,
        ) -> TypedTask[P, R]: ...
        @overload
        def __call__(
            self, function: Callable[Concatenate[TaskContext, P], R], /
        ) -> TypedTask[P, R]: ...

    @overload
    def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> TypedTask[P, R]: ...
    @overload
    def task(function: Callable[P, R], /) -> TypedTask[P, R]: ...
    @overload
    def task(
        *, takes_context: Literal[True], **options: Unpack[Options]
    ) -> DeclaresWithContext: ...
    @overload
    def task(*, takes_context: Literal[False] = False, **options: Unpack[Options]) -> Declares: ...
    def task(*args: Any, **options: Any) -> Any: ...

else:
    task = _task
    TaskContext, TaskResult = task_context_class(HOME), task_result_class(HOME)
