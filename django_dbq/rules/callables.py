"""From a declared dotted path to the function it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.utils.module_loading import import_string

from django_dbq.exceptions import JobInterruption, TaskNotFound


def function_at(path: str) -> Callable[..., Any]:
    """The function at a dotted path that `settings.JOBS` declares as a hook, or to decide.

    Raises TaskNotFound as `task_at` does, and for an async function: nobody awaits these.
    """
    found = task_at(path)
    if _known[path][1]:
        raise TaskNotFound(path, "it is an async function, and only a task can be one")
    return found


def task_at(path: str) -> Callable[..., Any]:
    """The function at a dotted path that `settings.JOBS` declares as a task; it may be async.

    Raises TaskNotFound (an ImportError) when there is none, from whatever error its module raised
    while it was imported: a task that cannot be imported is a failed job, not a dead worker.
    """
    try:
        found = import_string(path)
    except JobInterruption:  # no fault of the module
        raise
    except BaseException as error:
        raise TaskNotFound(path, f"{type(error).__name__}: {error}") from error
    known = _known.get(path)
    if known is None or found is not known[0]:
        if not callable(found):
            raise TaskNotFound(path, f"it is a {type(found).__name__}")
        _known[path] = found, iscoroutinefunction(found)
    return found  # type: ignore[no-any-return]


def is_async(path: str) -> bool:
    """Whether the task at this path is; one that cannot be had is not."""
    try:
        task_at(path)
    except TaskNotFound:
        return False
    return _known[path][1]


def was_async(path: str) -> bool | None:
    """Whether it was when somebody looked last, None if nobody has; imports nothing."""
    known = _known.get(path)
    return None if known is None else known[1]


# By path, what was looked at last, and whether it is async: asking costs more than finding.
_known: dict[str, tuple[Callable[..., Any], bool]] = {}


def class_at(path: str) -> type[BaseException]:
    """The exception class at a dotted path that `settings.JOBS` declares; else TaskNotFound."""
    try:
        found = import_string(path if "." in path else f"builtins.{path}")
    except BaseException as error:
        raise TaskNotFound(path, f"{type(error).__name__}: {error}", "error class") from error
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise TaskNotFound(path, f"it is {found!r}", "error class")
    return found
