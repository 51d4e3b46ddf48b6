"""Any number of Django tasks at once, which Django's own API has no way to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from django.db import router, transaction

from django_dbq.engines import engine_for
from django_dbq.models import Job
from django_dbq.rules.worlds import is_django_task

MANY_TASKS = 1_000


def is_kept_here(task: Any) -> bool:
    """Whether its backend is one of ours, which make jobs of it."""
    return hasattr(task.get_backend(), "template_of")


def enqueue_tasks(calls: Iterable[Any]) -> int:
    """See `enqueue_many`."""
    alias = router.db_for_write(Job)
    checked = (_checked(number, call) for number, call in enumerate(calls))
    with transaction.atomic(using=alias):
        return sum(
            _insert(alias, some) if are_ours else _enqueue_elsewhere(some)
            for are_ours, some in groupby(checked, lambda call: is_kept_here(call[0]))
        )


def _insert(alias: str, calls: Iterable[tuple[Any, Any, Any]]) -> int:
    templates = _Templates()

    def rows() -> Iterator[tuple[Job, dict[str, Any]]]:
        for task, args, kwargs in calls:
            backend, template = templates.of(task)
            yield template, backend.workspace_of(task, args, kwargs)

    return engine_for(alias).insert_each(rows())


def _enqueue_elsewhere(calls: Iterable[tuple[Any, Any, Any]]) -> int:
    enqueued = 0
    for task, args, kwargs in calls:
        task.get_backend().enqueue(task, args, kwargs)
        enqueued += 1
    return enqueued


class _Templates:
    """By task, its backend and a job like all of it: each task is validated once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any, Job]] = {}
        self._last: tuple[Any, Any, Job] | None = None

    def of(self, task: Any) -> tuple[Any, Job]:
        found = self._known.get(id(task))
        if found is None and self._last and self._last[0] == task:  # a copy, made by using()
            found = self._last
        if found is None:
            backend = task.get_backend()
            found = task, backend, backend.template_of(task)
            if len(self._known) >= MANY_TASKS:  # copies that all differ
                self._known.clear()
            self._known[id(task)] = found  # which keeps the task, and so its id
        self._last = found
        return found[1:]


def _checked(number: int, call: Any) -> tuple[Any, Any, Any]:
    if isinstance(call, (tuple, list)) and 2 <= len(call) <= 3:
        task, args, kwargs = call if len(call) == 3 else (*call, {})
        if (
            is_django_task(task)
            and isinstance(args, (tuple, list))
            and isinstance(kwargs, Mapping)
            and all(isinstance(key, str) for key in kwargs)
        ):
            return task, args, dict(kwargs)
    raise TypeError(
        f"Call {number} of enqueue_many is {call!r}; it should be (task, args) or "
        "(task, args, kwargs): a Django task, a list or tuple, and a dict."
    )
