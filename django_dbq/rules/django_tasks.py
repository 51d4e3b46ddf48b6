"""Django tasks: what they declare."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import Signature, signature
from typing import Any

from asgiref.sync import iscoroutinefunction

from django_dbq.exceptions import InvalidDeclaration, UnregisteredTask
from django_dbq.rules import registered
from django_dbq.rules.declarations import JobDeclaration, cannot_be_atomic
from django_dbq.rules.options import LONGEST_PATH, PARSERS
from django_dbq.rules.retry import RetryPolicy
from django_dbq.rules.worlds import World, world_of

# What `@task(…)` takes besides Django's own keywords.
POLICY = ("retry", "max_attempts", "backoff", "timeout", "grace", "isolation", "atomic", "unique")


@dataclass(frozen=True)
class DjangoTaskDeclaration(JobDeclaration):
    """What a Django task says about its jobs. `tasks` is its own path alone."""

    task: Any = None
    is_async: bool = False

    @cached_property
    def world(self) -> World:
        """The home of the task."""
        return world_of(self.task)

    def unique_key_of(self, workspace: Any) -> str:
        """By the names of the arguments, however each was given. Raises TypeError for arguments
        that the function does not take."""
        context = [None] if self.task.takes_context else []
        given = self._signature.bind(*context, *workspace["args"], **workspace["kwargs"])
        arguments = dict(given.arguments)
        for name, parameter in self._signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                # One may be called like an argument that is given by its place alone.
                rest = arguments.pop(name, {})
                arguments.update(
                    (f"**{key}" if key in arguments else key, rest[key]) for key in rest
                )
        return super().unique_key_of(arguments)

    def require_unique_by_its_arguments(self) -> None:
        """Raise InvalidDeclaration if it is `unique` by something that it does not take."""
        parameters = self._signature.parameters if self.unique else {}
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        arguments = list(parameters)[self.task.takes_context :]
        if unknown := sorted(set(self.unique or ()).difference(arguments)):
            raise InvalidDeclaration(
                f"The task {self.name} is unique by {', '.join(unknown)}, which it does not take.",
                hint=f"Its arguments are: {', '.join(arguments) or 'none'}.",
            )

    @cached_property
    def _signature(self) -> Signature:
        return signature(self.task.func)

    def place_of(self, task: str, place: int | None) -> int:
        if task != self.name:
            raise UnregisteredTask(task, f"its row is one of the Django task {self.name!r}")
        return 0


def declaration_at(path: str) -> DjangoTaskDeclaration:
    """What the Django task at this path declares.

    Raises what `registered.django_task_at` does, and InvalidDeclaration for one that makes no
    sense.
    """
    module_path, _, name = path.rpartition(".")
    known = _found.get(path)
    if known is None or known.task is not getattr(sys.modules.get(module_path), name, None):
        task = registered.django_task_at(path)
        # Not a copy of it, such as `using()` makes: that is not what will be found the next time.
        known = _found[path] = replace(declaration_of_task(task), task=task)
    return known


# By path, what was found there, once its module was imported to its end.
_found: dict[str, DjangoTaskDeclaration] = {}


def declaration_of_task(task: Any) -> DjangoTaskDeclaration:
    """What this Django task declares; raises InvalidDeclaration."""
    path = task.module_path
    known = _parsed.get(path)
    if known is None or not (known.task is task or _declares_alike(known.task, task)):
        known = _parsed[path] = _parse(path, task)
    return known


# By path, what was parsed last.
_parsed: dict[str, DjangoTaskDeclaration] = {}


def was_async(path: str) -> bool | None:
    """Whether the Django task at this path was when somebody looked last, None if nobody has."""
    known = _parsed.get(path)
    return None if known is None else known.is_async


def _declares_alike(one: Any, other: Any) -> bool:
    """Whether both are the same but for what `using()` changes."""
    is_same = one.func is other.func and one.takes_context == other.takes_context
    return is_same and _policy_of(one) == _policy_of(other)


def _policy_of(task: Any) -> tuple[Any, ...]:
    return tuple(getattr(task, key, None) for key in POLICY)


def _parse(path: str, task: Any) -> DjangoTaskDeclaration:
    place = f"The task {path}"
    if len(path) > LONGEST_PATH:
        hint = f"It has {len(path)} characters; the column holds {LONGEST_PATH}."
        raise InvalidDeclaration(f"{place} has too long a path.", hint=hint)
    given = {key: value for key, value in zip(POLICY, _policy_of(task)) if value is not None}
    max_attempts, backoff = given.pop("max_attempts", None), given.pop("backoff", None)
    if "retry" in given and not (max_attempts is backoff is None):
        hint = "Say it in one of the two ways."
        raise InvalidDeclaration(f"{place} has both retry and max_attempts or backoff.", hint=hint)
    options = {key: PARSERS[key](f"{place}: {key}", value) for key, value in given.items()}
    if not (max_attempts is backoff is None):
        options["retry"] = _retry(place, max_attempts, backoff)
    is_async = iscoroutinefunction(task.func)
    if is_async and options.get("atomic"):
        raise cannot_be_atomic(place)
    declaration = DjangoTaskDeclaration(
        path, tasks=(path,), task=task, is_async=is_async, **options
    )
    declaration.require_unique_by_its_arguments()
    return declaration


def _retry(place: str, max_attempts: Any, backoff: Any) -> RetryPolicy:
    """As `max_attempts` and `backoff` are proposed for Django itself."""
    decides = callable(backoff)
    given = {"max_attempts": max_attempts, "backoff": None if decides else backoff}
    keys = {key: value for key, value in given.items() if value is not None}
    policy: RetryPolicy = PARSERS["retry"](place, keys)
    return replace(policy, decide=_in_djangos_order(backoff)) if decides else policy


def _in_djangos_order(backoff: Callable[..., Any]) -> Callable[..., Any]:
    def decide(task_result: Any, error: BaseException, attempt: int) -> Any:
        return backoff(error, task_result)

    return decide
