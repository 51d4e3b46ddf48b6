"""`settings.JOBS`, parsed: which tasks and hooks a job name stands for.

Looked up at each use and parsed when an entry has changed, so that `override_settings(JOBS=...)`
and code that changes the dict at run time just work.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.conf import settings

from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared, TaskNotDeclared
from django_dbq.rules.options import PARSERS, parse_keys
from django_dbq.rules.retry import RetryPolicy


@dataclass(frozen=True)
class JobDeclaration:
    """What `settings.JOBS` says about one job name. Paths are dotted paths of functions."""

    # Of an attempt: after `timeout` JobTimeout is raised in the task, and `grace` later its process
    # is killed. `isolation` "process": it has a process of its own. `atomic`: the task and the
    # record of its success are one transaction.

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

    @cached_property
    def hooks(self) -> dict[str, str]:
        """The hooks that are declared, by their key."""
        return {key: getattr(self, key) for key in HOOK_KEYS if getattr(self, key)}

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

    def after(self, place: int) -> str | None:
        """The task that follows the one at `place`, or None after the last."""
        return self.tasks[place + 1] if place + 1 < len(self.tasks) else None


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
    try:
        entry = jobs[name]
    except KeyError:
        raise JobNotDeclared(name, tuple(map(str, jobs))) from None
    known = _parsed.get(name)
    if known is None or known[0] != entry:
        known = _parsed[name] = (deepcopy(entry), parse(name, entry))
    return known[1]


# The entry as it was when it was parsed, and what came of it.
_parsed: dict[str, tuple[Any, JobDeclaration]] = {}


def parse(name: str, entry: Any) -> JobDeclaration:
    """One entry of `settings.JOBS`: a dict with `tasks`, or just the list of tasks."""
    place = f"settings.JOBS[{name!r}]"
    if isinstance(entry, Mapping):
        return JobDeclaration(name, **parse_keys(place, {"tasks": None, **entry}))
    return JobDeclaration(name, tasks=PARSERS["tasks"](place, entry))


def is_known(name: str, task: str) -> bool:
    """Whether the code here knows the job, and the task if one is given."""
    try:
        tasks = declaration_of(name).tasks
        return not task or task in tasks
    except JobNotDeclared:
        return False
    except InvalidDeclaration:
        return True  # known, and wrong: its jobs fail and say so
