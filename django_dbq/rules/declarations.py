"""`settings.JOBS`, parsed: which tasks and hooks a job name stands for.

Looked up at each use and parsed when an entry has changed, so that `override_settings(JOBS=...)`
and code that changes the dict at run time just work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings

from django_dbq.exceptions import (
    InvalidDeclaration,
    JobNotDeclared,
    TaskNotDeclared,
    UnknownJobOption,
)

DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
LONGEST_PATH = 100  # characters: the width of the column `next_task`


@dataclass(frozen=True)
class JobDeclaration:
    """What `settings.JOBS` says about one job name. Paths are dotted paths of functions."""

    name: str
    tasks: tuple[str, ...]
    failure_hook: str | None = None
    creation_hook: str | None = None
    pre_task_hook: str | None = None
    post_task_hook: str | None = None

    @property
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
    if not isinstance(jobs, Mapping):
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
    options = entry if isinstance(entry, Mapping) else {"tasks": entry}
    unknown = [str(option) for option in options if option not in KNOWN_OPTIONS]
    if unknown:
        raise UnknownJobOption(
            f"settings.JOBS[{name!r}] has unknown keys: {', '.join(sorted(unknown))}.",
            hint=f"The known ones are: {', '.join(KNOWN_OPTIONS)}.",
        )
    tasks = options.get("tasks")
    if isinstance(tasks, str) or not isinstance(tasks, Sequence) or not tasks:
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has {tasks!r} for its tasks.",
            hint="It should be a list of dotted paths of functions, with at least one in it.",
        )
    for key, path in [("tasks", path) for path in tasks] + [
        (key, options[key]) for key in HOOK_KEYS if options.get(key) is not None
    ]:
        _require_path(name, key, path)
    return JobDeclaration(
        name, tuple(tasks), **{key: options[key] for key in HOOK_KEYS if options.get(key)}
    )


def _require_path(name: str, key: str, path: Any) -> None:
    if not isinstance(path, str) or not DOTTED_PATH.fullmatch(path):
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has {path!r} in {key!r}, which is not a dotted path.",
            hint="It should look like 'shop.jobs.send_invoice'.",
        )
    if key == "tasks" and len(path) > LONGEST_PATH:
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has a task path of {len(path)} characters: {path!r}.",
            hint=f"The column next_task holds {LONGEST_PATH}; give it a shorter path.",
        )
