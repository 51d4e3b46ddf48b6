"""From a declared dotted path to the function it names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from django.utils.module_loading import import_string

from django_dbq.exceptions import JobInterruption, TaskNotFound


def function_at(path: str) -> Callable[..., Any]:
    """The function at a dotted path that `settings.JOBS` declares.

    Raises TaskNotFound (an ImportError) when there is none, from whatever error its module raised
    while it was imported: a task that cannot be imported is a failed job, not a dead worker.
    """
    try:
        found = import_string(path)
    except JobInterruption:  # no fault of the module
        raise
    except BaseException as error:
        raise TaskNotFound(path, f"{type(error).__name__}: {error}") from error
    known = _fit_to_call.get(path)
    if known is not None and found is known:
        return known
    if not callable(found):
        raise TaskNotFound(path, f"it is a {type(found).__name__}")
    if inspect.iscoroutinefunction(found):
        raise TaskNotFound(path, "it is an async function, and this version runs none")
    _fit_to_call[path] = found
    return found  # type: ignore[no-any-return]


# By path, what was looked at last: asking costs more than finding.
_fit_to_call: dict[str, Callable[..., Any]] = {}


def class_at(path: str) -> type[BaseException]:
    """The exception class at a dotted path that `settings.JOBS` declares; else TaskNotFound."""
    try:
        found = import_string(path if "." in path else f"builtins.{path}")
    except BaseException as error:
        raise TaskNotFound(path, f"{type(error).__name__}: {error}", "error class") from error
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise TaskNotFound(path, f"it is {found!r}", "error class")
    return found
