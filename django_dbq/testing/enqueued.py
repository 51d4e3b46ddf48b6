"""Which jobs are enqueued: asked of the rows, and so whichever way they came there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, Union

from django.db import router

from django_dbq.clock import as_aware
from django_dbq.exceptions import JobNotDeclared
from django_dbq.models import Job
from django_dbq.models.job import JobQuerySet
from django_dbq.queue.results import arguments_of
from django_dbq.rules.declarations import declaration_of
from django_dbq.rules.django_tasks import declaration_at
from django_dbq.rules.states import WAITING
from django_dbq.rules.worlds import is_django_task

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    class Asked(TypedDict, total=False):
        """What a job must be like; see `assert_enqueued`."""

        args: Sequence[Any]
        kwargs: Mapping[str, Any]
        workspace: Mapping[str, Any]
        queue_name: str
        priority: int
        run_after: datetime | timedelta | None
        using: str | None


NOT_ASKED: Any = object()
ABOUT = timedelta(seconds=5)  # between the test's look at the clock and the row's `created`
SHOWN = 20  # jobs in a message
COLUMNS = ("queue_name", "priority", "run_after")


class HasJobName(Protocol):
    """A function with `@job`."""

    @property
    def job_name(self) -> str: ...


class HasModulePath(Protocol):
    """A Django task."""

    @property
    def module_path(self) -> str: ...


TaskOrName = Union[str, HasJobName, HasModulePath, None]


def assert_enqueued(
    task_or_name: TaskOrName = None,
    *,
    args: Sequence[Any] = NOT_ASKED,
    kwargs: Mapping[str, Any] = NOT_ASKED,
    workspace: Mapping[str, Any] = NOT_ASKED,
    queue_name: str = NOT_ASKED,
    priority: int = NOT_ASKED,
    run_after: datetime | timedelta | None = NOT_ASKED,
    count: int | None = None,
    using: str | None = None,
) -> list[Job]:
    """Fail unless such a job waits; with `count`, exactly so many. Returns them, the oldest first.

    Give the name of a job, a function with `@job`, or a Django task or its path; or nothing for any
    job. What else is given must be equal. `run_after` is a datetime, None for a job without one, or
    a timedelta: about that long after the job was created.
    """
    __tracebackhide__ = True
    asked = {
        "queue_name": queue_name,
        "priority": priority,
        "run_after": run_after,
        "workspace": workspace,
        "args": args,
        "kwargs": kwargs,
    }
    wanted = _Wanted(_name_of(task_or_name), _without_unasked(asked))
    rows = list(_rows(using).order_by("created", "pk"))
    waiting = [job for job in rows if job.state in WAITING]
    found = [job for job in waiting if wanted.is_met_by(job)]
    if (not found) if count is None else len(found) != count:
        expected = "at least one" if count is None else f"exactly {count}"
        raise AssertionError(
            f"{wanted} is enqueued {_times(len(found))}; expected: {expected}.\n{_list(rows)}"
        )
    return found


def assert_not_enqueued(task_or_name: TaskOrName = None, **asked: Unpack[Asked]) -> None:
    """Fail if such a job waits; takes what `assert_enqueued` takes, but for `count`."""
    __tracebackhide__ = True
    assert_enqueued(task_or_name, count=0, **asked)


@contextmanager
def captured_jobs(*, using: str | None = None) -> Iterator[list[Job]]:
    """Collect the jobs that are enqueued in this block; the list is filled at its end, in order.

    It has all of them, however they were enqueued, also by SQL, as their rows are then: a job that
    has run meanwhile has the state that it has reached. Jobs that were rolled back or deleted are
    not among them.
    """
    before = set(_rows(using).values_list("pk", flat=True))
    captured: list[Job] = []
    yield captured
    after = _rows(using).order_by("created", "pk").values_list("pk", flat=True)
    new = [pk for pk in after if pk not in before]
    rows = _rows(using).in_bulk(new)
    captured.extend(rows[pk] for pk in new)


def _rows(using: str | None) -> JobQuerySet:
    return JobQuerySet(Job, using=using or router.db_for_write(Job))


def _without_unasked(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in asked.items() if value is not NOT_ASKED}


def _name_of(task_or_name: Any) -> str | None:
    if task_or_name is None:
        return None
    if is_django_task(task_or_name):
        return str(task_or_name.module_path)
    task_or_name = getattr(task_or_name, "job_name", task_or_name)
    if not isinstance(task_or_name, str):
        raise TypeError(f"Give a job's name or a Django task, not {task_or_name!r}.")
    _require_known(task_or_name)
    return task_or_name


def _require_known(name: str) -> None:
    """Raise JobNotDeclared, or what else is wrong with it: no misspelt name is ever enqueued."""
    try:
        declaration_of(name)
    except JobNotDeclared:
        if "." not in name:
            raise
        declaration_at(name)


@dataclass(frozen=True)
class _Wanted:
    """What a job must be like."""

    name: str | None
    values: Mapping[str, Any]

    def __str__(self) -> str:
        values = "".join(f" {key}={value!r}" for key, value in self.values.items())
        return f"{self.name or 'A job'}{' with' * bool(values)}{values}"

    def is_met_by(self, job: Job) -> bool:
        if self.name not in (None, job.name):
            return False
        return all(self._is_equal(job, key, value) for key, value in self.values.items())

    def _is_equal(self, job: Job, key: str, value: Any) -> bool:
        if key == "run_after" and value is not None:
            return _is_at(job, value)
        if key in COLUMNS:
            return bool(getattr(job, key) == value)
        if key == "workspace":
            return bool(job.workspace == _as_stored_json(value))
        if job.backend is None:
            return False
        value = list(value) if key == "args" and isinstance(value, Sequence) else value
        return bool(arguments_of(job)[key] == _as_stored_json(value))


def _is_at(job: Job, value: Any) -> bool:
    if job.run_after is None:
        return False
    if not isinstance(value, (datetime, timedelta)):
        return bool(job.run_after == value)  # `mock.ANY`, say
    if isinstance(value, timedelta):
        return abs(job.run_after - job.created - value) <= ABOUT
    return as_aware(job.run_after) == as_aware(value)


def _as_stored_json(value: Any) -> Any:
    """What a row would have of it; itself, if it is no JSON but, say, `mock.ANY`."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return value


def _times(count: int) -> str:
    return {0: "not at all", 1: "once"}.get(count, f"{count} times")


def _list(rows: list[Job]) -> str:
    """What there is: first those that wait."""
    waiting = [job for job in rows if job.state in WAITING]
    others = [job for job in rows if job.state not in WAITING]
    lines = ["Enqueued:" if waiting else "Nothing is enqueued.", *map(_line, waiting[:SHOWN])]
    if len(waiting) > SHOWN:
        lines.append(f"  … and {len(waiting) - SHOWN} more")
    if others:
        lines += ["Not any more:", *(f"{_line(job)} {job.state}" for job in others[-SHOWN:])]
    return "\n".join(lines)


def _line(job: Job) -> str:
    told = {"workspace": job.workspace} if job.backend is None else arguments_of(job)
    told.update((column, getattr(job, column)) for column in COLUMNS)
    if job.run_after is None:
        del told["run_after"]
    else:
        told["run_after"] = job.run_after.isoformat()
    return f"  {job.name}" + "".join(f" {key}={value!r}" for key, value in told.items())
