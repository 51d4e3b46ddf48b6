"""The two homes of Django's Tasks API: `django.tasks`, from Django 6.0 on, and its backport.

Both may be there at once: a project on Django 6 tells its own tasks by `django.tasks`, and an app
that it uses tells others by `django_tasks`. Each has classes, signals and errors of its own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any


@dataclass(frozen=True)
class World:
    """One of them, by the name of its package. Imports nothing before it is used."""

    package: str

    @property
    def is_loaded(self) -> bool:
        """Whether anybody has imported it: otherwise there are no tasks of it."""
        return self.package in sys.modules

    @cached_property
    def tasks(self) -> Any:
        return import_module(self.package)

    @cached_property
    def base(self) -> Any:
        return import_module(f"{self.package}.base")

    @cached_property
    def signals(self) -> Any:
        return import_module(f"{self.package}.signals")

    def has_listeners(self, signal: str) -> bool:
        """Whether anybody but its own receiver, which only logs, is told of this signal."""
        sender, own = self._senders[signal]
        # Asked for each task: any() over a generator would take longer.
        return bool([receiver for receiver in sender.receivers if receiver[0][0] != own])

    @cached_property
    def _senders(self) -> dict[str, tuple[Any, int]]:
        """The signals by name, each with what stands for its own receiver among all of them.

        If that has another name one day, somebody is always told: slower, and not wrong.
        """
        signals = self.signals
        return {
            name: (getattr(signals, name), id(getattr(signals, f"log_{name}", None)))
            for name in ("task_started", "task_finished")
        }

    @cached_property
    def backends(self) -> Any:
        return import_module(f"{self.package}.backends.base")

    @cached_property
    def invalid_task(self) -> type[Exception]:
        exceptions = self._exceptions
        found: type[Exception] = getattr(exceptions, "InvalidTask", None) or (
            exceptions.InvalidTaskError
        )
        return found

    @cached_property
    def result_does_not_exist(self) -> type[Exception]:
        found: type[Exception] = self._exceptions.TaskResultDoesNotExist
        return found

    @cached_property
    def result_mismatch(self) -> type[Exception]:
        found: type[Exception] = self._exceptions.TaskResultMismatch
        return found

    @cached_property
    def normalize_json(self) -> Any:
        """Its function that makes JSON values of what is passed, or raises TypeError."""
        has_its_own = find_spec(f"{self.package}.utils") is not None
        utils = f"{self.package}.utils" if has_its_own else "django.utils.json"
        return import_module(utils).normalize_json

    @property
    def _exceptions(self) -> Any:
        return import_module(f"{self.package}.exceptions")


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None


CORE, BACKPORT = World("django.tasks"), World("django_tasks")
WORLDS = tuple(world for world in (CORE, BACKPORT) if _is_installed(world.package))
SLOTS = {"slots": True} if sys.version_info >= (3, 11) else {}  # as the classes of both have


def is_django_task(found: object) -> bool:
    return any(world.is_loaded and isinstance(found, world.base.Task) for world in WORLDS)


def is_task_result(found: object) -> bool:
    return any(world.is_loaded and isinstance(found, world.base.TaskResult) for world in WORLDS)


def world_of(task: Any) -> World:
    """The home of a Django task."""
    return next(world for world in WORLDS if world.is_loaded and isinstance(task, world.base.Task))
