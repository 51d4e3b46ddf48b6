"""Which tasks and hooks a job name stands for: `settings.JOBS`, parsed, and what `@job` declares.

The settings are looked up at each use and parsed when an entry has changed, so that
`override_settings(JOBS=...)` and code that changes the dict at run time just work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.conf import settings

from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared, TaskNotDeclared
from django_dbq.rules.options import PARSERS, parse_keys
from django_dbq.rules.retry import RetryPolicy
from django_dbq.rules.unique import unique_key


@dataclass(frozen=True)
class JobDeclaration:
    """What is declared for one job name. Paths are dotted paths of functions."""

    # Of an attempt: after `timeout` JobTimeout is raised in the task, and `grace` later its process
    # is killed. `isolation` "process": it has a process of its own. `atomic`: the task and the
    # record of its success are one transaction. `queue_name` and `priority` are those of jobs that
    # are created without a word about them. `unique`: of jobs that are alike in these parts of the
    # workspace (in all of it, if none is named) only one waits or runs at a time.

    name: str
    tasks: tuple[str, ...]
    failure_hook: str | None = None
    creation_hook: str | None = None
    pre_task_hook: str | None = None
    post_task_hook: str | None = None
    retry: RetryPolicy | None = None
    retry_hook: str | None = None
    timeout: timedelta | None = None
    grace: timedelta = timedelta(seconds=5)
    isolation: str = "thread"
    atomic: bool = False
    queue_name: str = "default"
    priority: int = 0
    unique: tuple[str, ...] | None = None

    @cached_property
    def hooks(self) -> dict[str, str]:
        """The hooks that are declared, by their key."""
        return {key: getattr(self, key) for key in HOOK_KEYS if getattr(self, key)}

    def unique_key_of(self, workspace: Any) -> str:
        """What no two jobs have in common that wait or run, if they are `unique`."""
        return unique_key(self.name, workspace, self.unique or ())

    def place_of(self, task: str, place: int | None) -> int:
        """Where `task` stands in the list, `place` being where it was last known to stand.

        A row that a 3.3 process made has no place, and one that it moved on has an old one: both go
        by the first match. Raises TaskNotDeclared when the list does not have the task at all.
        """
        if place is not None and 0 <= place < len(self.tasks) and self.tasks[place] == task:
            return place
        try:
            return self.tasks.index(task)
        except ValueError:
            raise TaskNotDeclared(self.name, task, self.tasks) from None

    def following(self, task: str, place: int | None) -> tuple[str, int | None]:
        """The task after this one, and its place; "" and None after the last."""
        next_place = self.place_of(task, place) + 1
        return (self.tasks[next_place], next_place) if next_place < len(self.tasks) else ("", None)


KNOWN_OPTIONS = tuple(field.name for field in fields(JobDeclaration) if field.name != "name")
HOOK_KEYS = tuple(option for option in KNOWN_OPTIONS if option.endswith("_hook"))


def declared_jobs() -> Mapping[str, Any]:
    """`settings.JOBS` as it is; raises InvalidDeclaration unless it is a dict."""
    jobs = getattr(settings, "JOBS", {})
    if type(jobs) is not dict and not isinstance(jobs, Mapping):  # asked for each job: dict is fast
        raise InvalidDeclaration(
            f"settings.JOBS is a {type(jobs).__name__}, not a dict.",
            hint='It should map each job name to its tasks: {"my_job": {"tasks": ["app.f"]}}.',
        )
    return jobs


def declaration_of(name: str) -> JobDeclaration:
    """The declaration of one job; raises JobNotDeclared or InvalidDeclaration."""
    jobs = declared_jobs()
    if name in _beside:
        return _the_only_one(name)
    try:
        entry = jobs[name]
    except KeyError:
        raise JobNotDeclared(name, declared_names()) from None
    known = _parsed.get(name)
    if known is None or known[0] != entry:
        declaration = parse(name, entry)  # first: what it refuses may be what cannot be copied
        known = _parsed[name] = (deepcopy(entry), declaration)
    return known[1]


# The entry as it was when it was parsed, and what came of it.
_parsed: dict[str, tuple[Any, JobDeclaration]] = {}


def declare(declaration: JobDeclaration) -> None:
    """Make a job known that is declared beside the function that is its only task."""
    _beside.setdefault(declaration.name, {})[declaration.tasks[0]] = declaration


# What is declared beside functions, by name and then by the function's path: a module that is
# loaded anew declares the same job again, and two functions by one name are a mistake that is told.
_beside: dict[str, dict[str, JobDeclaration]] = {}


def declared_beside() -> list[JobDeclaration]:
    """All that is declared beside functions so far."""
    return [declaration for named in _beside.values() for declaration in named.values()]


def declared_names() -> tuple[str, ...]:
    """The names of all jobs that are known here."""
    return tuple(dict.fromkeys(map(str, (*declared_jobs(), *_beside))))


@dataclass(frozen=True)
class Known:
    """The names and the tasks of jobs that the code here knows; Django tasks are not among them."""

    names: Collection[str]
    tasks: Collection[str]

    @classmethod
    def here(cls) -> Known:
        """As it is declared now."""
        names, tasks = declared_names(), set[str]()
        for name in names:
            with contextlib.suppress(InvalidDeclaration):
                tasks.update(declaration_of(name).tasks)
        return cls(names, tasks)


def require_one_place(name: str) -> None:
    """Raise InvalidDeclaration if a job is declared in more than one place."""
    places = [f"by @job of {path}" for path in sorted(_beside.get(name, ()))]
    if name in declared_jobs():
        places.insert(0, "in settings.JOBS")
    if len(places) > 1:
        raise InvalidDeclaration(
            f"Job {name!r} is declared {', and '.join(places)}.",
            hint="Give one of them another name, as in @job(name='another').",
        )


def _the_only_one(name: str) -> JobDeclaration:
    require_one_place(name)
    (declaration,) = _beside[name].values()
    return declaration


def parse(name: str, entry: Any) -> JobDeclaration:
    """One entry of `settings.JOBS`: a dict with `tasks`, or just the list of tasks."""
    place = f"settings.JOBS[{name!r}]"
    if isinstance(entry, Mapping):
        return JobDeclaration(name, **parse_keys(place, {"tasks": None, **entry}))
    return JobDeclaration(name, tasks=PARSERS["tasks"](place, entry))


def cannot_be_atomic(what: str) -> InvalidDeclaration:
    """The error of an async task that is declared `atomic`."""
    return InvalidDeclaration(
        f"{what} is async, and cannot be atomic: Django has no async transactions.",
        hint="Leave `atomic` out, and put what belongs together into a plain function, under "
        "`transaction.atomic()`, which the task calls by sync_to_async. Or make the task plain.",
    )


def is_known(name: str, task: str) -> bool:
    """Whether the code here knows the job, and the task if one is given."""
    try:
        tasks = declaration_of(name).tasks
        return not task or task in tasks
    except JobNotDeclared:
        return False
    except InvalidDeclaration:
        return True  # known, and wrong: its jobs fail and say so
