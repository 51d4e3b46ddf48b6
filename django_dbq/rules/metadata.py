"""Metadata of Django tasks: what it may be, and Django's classes with it.

In the words of Django's open proposal, so that code which uses it is Django's own one day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async

from django_dbq.exceptions import InvalidMetadata
from django_dbq.rules.worlds import SLOTS, WORLDS, World

RESERVED = "_"  # for backends: keys that begin so are hidden from tasks in the proposal


def as_metadata(value: Any, world: World) -> dict[str, Any]:
    """A copy of it in JSON values; raises InvalidMetadata."""
    if not isinstance(value, dict):
        raise InvalidMetadata(f"it is a {type(value).__name__}, and should be a dict")
    for key in value:
        if not isinstance(key, str):
            raise InvalidMetadata(f"its key {key!r} should be a text")
        if key.startswith(RESERVED):
            raise InvalidMetadata(f"its key {key!r} begins with {RESERVED!r}, as only backends' do")
    try:
        copy: dict[str, Any] = world.normalize_json(value)
    except (TypeError, ValueError, RuntimeError) as error:  # too deep, or changed meanwhile
        raise InvalidMetadata(f"JSON cannot express it: {error}") from error
    return copy


@cache
def task_result_class(world: World) -> Any:
    """Its `TaskResult`, with metadata."""
    base = world.base.TaskResult

    @dataclass(frozen=True, kw_only=True, **SLOTS)  # type: ignore[call-overload, misc, unused-ignore]
    class TaskResult(base):  # type: ignore[misc, valid-type]
        """A result of Django's, with the metadata of its task: a dict that is this result's own."""

        metadata: dict[str, Any] = field(default_factory=dict)

        def __post_init__(self) -> None:
            base.__post_init__(self)
            object.__setattr__(self, "metadata", world.normalize_json(self.metadata))

        def refresh(self) -> None:
            """Read again what has become of the task."""
            self._take(self.task.get_backend().get_result(self.id))

        async def arefresh(self) -> None:
            """See `refresh`."""
            self._take(await self.task.get_backend().aget_result(self.id))

        def _take(self, fresh: Any) -> None:
            for name in (*world.base.TASK_REFRESH_ATTRS, "metadata"):
                object.__setattr__(self, name, getattr(fresh, name))

    return _named(TaskResult, "TaskResult", world)


@cache
def task_context_class(world: World) -> Any:
    """Its `TaskContext`, with metadata; `_save` is told what is to be written at once."""

    @dataclass(frozen=True, kw_only=True, **SLOTS)  # type: ignore[call-overload, misc, unused-ignore]
    class TaskContext(world.base.TaskContext):  # type: ignore[name-defined, misc]
        """A context of Django's, with the metadata of its task, which the task may change."""

        _save: Callable[[dict[str, Any]], None] = field(repr=False)

        @property
        def metadata(self) -> Any:
            """A dict. What is changed in it is saved when the attempt ends, whatever its end."""
            return self.task_result.metadata

        def save_metadata(self) -> None:
            """Save it now, for others to see.

            Raises InvalidMetadata; LeaseLost when the job is not this worker's any more.
            """
            self._save(as_metadata(self.metadata, world))

        async def asave_metadata(self) -> None:
            """See `save_metadata`."""
            # Copied here: while the database is asked, the event loop may change the original.
            await sync_to_async(self._save)(as_metadata(self.metadata, world))

    return _named(TaskContext, "TaskContext", world)


def _named(kind: Any, name: str, world: World) -> Any:
    """With the name by which `task_backend` has it: where pickle looks for it."""
    kind.__module__ = "django_dbq.task_backend"
    kind.__name__ = kind.__qualname__ = name if world is WORLDS[0] else f"Backport{name}"
    return kind
