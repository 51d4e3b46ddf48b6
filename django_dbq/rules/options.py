"""The keys of a job in `settings.JOBS`: what each may hold, and what is made of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django_dbq.exceptions import InvalidDeclaration, UnknownJobOption
from django_dbq.rules.retry import RetryPolicy, as_duration

DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
LONGEST_PATH = 100  # characters: the width of the column `next_task`
WHAT_TASKS_ARE = "It should be a list of dotted paths of functions, with at least one in it."


def _tasks(name: str, key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has {value!r} for its tasks.", hint=WHAT_TASKS_ARE
        )
    for path in value:
        _require_path(name, key, path)
    return tuple(value)


def _hook(name: str, key: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    _require_path(name, key, value)
    return str(value)


def _duration(name: str, key: str, value: Any) -> timedelta:
    try:
        duration = as_duration(value)
    except ValueError as error:
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has {value!r} in {key!r}: {error}.",
            hint="It should be a timedelta or a number of seconds.",
        ) from None
    return duration


def _timeout(name: str, key: str, value: Any) -> timedelta | None:
    if value is None:
        return None
    timeout = _duration(name, key, value)
    if not timeout:
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has a {key} of no time at all.",
            hint="It should be a timedelta or a number of seconds; leave it out for none.",
        )
    return timeout


def _isolation(name: str, key: str, value: Any) -> str:
    if value not in ISOLATIONS:
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has {value!r} in {key!r}.",
            hint='It should be "thread", or "process" for a process of its own.',
        )
    return str(value)


def _flag(name: str, key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has {value!r} in {key!r}.", hint="It should be True or False."
        )
    return value


def _retry(name: str, key: str, value: Any) -> RetryPolicy | None:
    """A dict of a policy's keys; a number of attempts; or the path of a function that decides."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        value = {"decide": value, "max_attempts": None}
    elif isinstance(value, int) and not isinstance(value, bool):
        value = {"max_attempts": value}
    if not isinstance(value, Mapping):
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}] has {value!r} in 'retry'.",
            hint=f"It should be a dict with some of: {', '.join(RETRY_KEYS)}; a number of "
            "attempts; or the dotted path of a function that decides.",
        )
    unknown = sorted(str(option) for option in value if option not in RETRY_KEYS)
    if unknown:
        raise UnknownJobOption(
            f"settings.JOBS[{name!r}]['retry'] has unknown keys: {', '.join(unknown)}.",
            hint=f"The known ones are: {', '.join(RETRY_KEYS)}.",
        )
    given = {option: _RETRY_PARSERS[option](name, option, value[option]) for option in value}
    if "delays" in given:
        given.setdefault("max_attempts", len(given["delays"]) + 1)
    return RetryPolicy(**given)


def _max_attempts(name: str, key: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise InvalidDeclaration(
        f"settings.JOBS[{name!r}]['retry'] has {value!r} in {key!r}.",
        hint="It should be a whole number from 1 up, or None for no limit.",
    )


def _delays(name: str, key: str, value: Any) -> tuple[timedelta, ...]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}]['retry'] has {value!r} in {key!r}.",
            hint="It should be a list of timedeltas or seconds, with at least one in it.",
        )
    return tuple(_duration(name, key, each) for each in value)


def _errors(name: str, key: str, value: Any) -> tuple[Any, ...]:
    values = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    for each in values:
        if isinstance(each, str) and DOTTED_PATH.fullmatch(each):
            continue
        if isinstance(each, type) and issubclass(each, BaseException):
            continue
        raise InvalidDeclaration(
            f"settings.JOBS[{name!r}]['retry'] has {each!r} in {key!r}.",
            hint="It should be a list of exception classes or of their dotted paths.",
        )
    return tuple(values)


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


ISOLATIONS = ("thread", "process")

PARSERS: dict[str, Callable[[str, str, Any], Any]] = {
    "tasks": _tasks,
    "failure_hook": _hook,
    "creation_hook": _hook,
    "pre_task_hook": _hook,
    "post_task_hook": _hook,
    "retry_hook": _hook,
    "retry": _retry,
    "timeout": _timeout,
    "grace": _duration,
    "isolation": _isolation,
    "atomic": _flag,
}

_RETRY_PARSERS: dict[str, Callable[[str, str, Any], Any]] = {
    "max_attempts": _max_attempts,
    "backoff": _duration,
    "max_backoff": _duration,
    "jitter": _flag,
    "delays": _delays,
    "on": _errors,
    "never": _errors,
    "decide": _hook,
}
RETRY_KEYS = tuple(_RETRY_PARSERS)
