"""The keys of a job in `settings.JOBS`: what each may hold, and what is made of it.

Each parser gets the place of the value, as in "settings.JOBS['report']['timeout']", and the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django_dbq.durations import LONGEST_WAIT, as_duration, as_wait
from django_dbq.exceptions import InvalidDeclaration, UnknownJobOption
from django_dbq.rules.retry import RetryPolicy

DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
LONGEST_PATH = 255  # characters: the width of the column `next_task`
LONGEST_NAME, LONGEST_QUEUE_NAME = 255, 60  # of their columns, too
SMALLEST_PRIORITY, LARGEST_PRIORITY = -32_768, 32_767
ISOLATIONS = ("thread", "process")


def _wrong(place: str, value: object, hint: str) -> InvalidDeclaration:
    return InvalidDeclaration(f"{place} holds {value!r}.", hint=hint)


def _tasks(place: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        hint = "It should be a list of dotted paths of functions, with at least one in it."
        raise _wrong(place, value, hint)
    return tuple(_task(f"{place}[{index}]", each) for index, each in enumerate(value))


def _task(place: str, value: Any) -> str:
    path = _path(place, value)
    if len(path) > LONGEST_PATH:
        hint = f"It has {len(path)} characters; give it a path of at most {LONGEST_PATH}."
        raise _wrong(place, value, hint)
    return path


def _path(place: str, value: Any) -> str:
    if not isinstance(value, str) or not DOTTED_PATH.fullmatch(value):
        raise _wrong(place, value, "It should be a dotted path, as in 'shop.jobs.send_invoice'.")
    return value


def _hook(place: str, value: Any) -> str | None:
    return None if value is None or value == "" else _path(place, value)


def _duration(place: str, value: Any) -> timedelta:
    try:
        return as_duration(value)
    except ValueError:
        hint = "It should be a timedelta or a number of seconds, from 0 up."
        raise _wrong(place, value, hint) from None


def _wait(place: str, value: Any) -> timedelta:
    duration = _duration(place, value)
    try:
        return as_wait(duration)
    except ValueError:
        hint = f"No job waits for so long; it should be {LONGEST_WAIT.days} days at most."
        raise _wrong(place, value, hint) from None


def _timeout(place: str, value: Any) -> timedelta | None:
    if value is None:
        return None
    timeout = _duration(place, value)
    if not timeout:
        hint = "That is no time at all; it should be some seconds. Leave it out for any time."
        raise _wrong(place, value, hint)
    return timeout


def _isolation(place: str, value: Any) -> str:
    if value not in ISOLATIONS:
        hint = 'It should be "thread", or "process" for a process of its own.'
        raise _wrong(place, value, hint)
    return str(value)


def _flag(place: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(place, value, "It should be True or False.")
    return value


def _queue_name(place: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_QUEUE_NAME:
        hint = f"It should be the name of a queue, of at most {LONGEST_QUEUE_NAME} characters."
        raise _wrong(place, value, hint)
    return value


def _priority(place: str, value: Any) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number or not SMALLEST_PRIORITY <= value <= LARGEST_PRIORITY:
        hint = f"It should be a whole number from {SMALLEST_PRIORITY} to {LARGEST_PRIORITY}."
        raise _wrong(place, value, hint)
    return int(value)


def _unique(place: str, value: Any) -> tuple[str, ...] | None:
    """None: not unique. The names of the parts that count; all do, if there are none."""
    if value is None or isinstance(value, bool):
        return () if value else None
    names = [value] if isinstance(value, str) else value
    is_list = isinstance(names, (list, tuple, set, frozenset))
    if not is_list or not names or not all(isinstance(name, str) and name for name in names):
        hint = "It should be True, or the names of those arguments that make jobs the same."
        raise _wrong(place, value, hint)
    return tuple(sorted(names))


def _retry(place: str, value: Any) -> RetryPolicy | None:
    """A dict of a policy's keys; a number of attempts; or the path of a function that decides."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return RetryPolicy(max_attempts=_max_attempts(place, value))
    if isinstance(value, str) and DOTTED_PATH.fullmatch(value):
        return RetryPolicy(decide=value, max_attempts=None)
    if not isinstance(value, Mapping):
        raise _wrong(
            place,
            value,
            f"It should be a dict with some of: {', '.join(RETRY_KEYS)}; a number of attempts; or "
            "the dotted path of a function that decides.",
        )
    given = parse_keys(place, value, _RETRY_PARSERS)
    if "delays" in given:
        given.setdefault("max_attempts", len(given["delays"]) + 1)
    return RetryPolicy(**given)


def _max_attempts(place: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise _wrong(place, value, "It should be a whole number from 1 up, or None for no limit.")


def _delays(place: str, value: Any) -> tuple[timedelta, ...]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence) or not value:
        hint = "It should be a list of timedeltas or seconds, with at least one in it."
        raise _wrong(place, value, hint)
    return tuple(_wait(f"{place}[{index}]", each) for index, each in enumerate(value))


def _on(place: str, value: Any) -> tuple[Any, ...]:
    classes = _errors(place, value)
    if not classes:
        hint = "It should name at least one error class. Leave `retry` out to retry none."
        raise _wrong(place, value, hint)
    return classes


def _errors(place: str, value: Any) -> tuple[Any, ...]:
    values = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    for each in values:
        if isinstance(each, str) and DOTTED_PATH.fullmatch(each):
            continue
        if isinstance(each, type) and issubclass(each, BaseException):
            continue
        hint = "It should be a list of exception classes or of their dotted paths."
        raise _wrong(place, each, hint)
    return tuple(values)


Parser = Callable[[str, Any], Any]

PARSERS: dict[str, Parser] = {
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
    "queue_name": _queue_name,
    "priority": _priority,
    "unique": _unique,
}

_RETRY_PARSERS: dict[str, Parser] = {
    "max_attempts": _max_attempts,
    "backoff": _wait,
    "max_backoff": _wait,
    "jitter": _flag,
    "delays": _delays,
    "on": _on,
    "never": _errors,
    "decide": _hook,
}
RETRY_KEYS = tuple(_RETRY_PARSERS)


def parse_keys(
    place: str, given: Mapping[str, Any], parsers: Mapping[str, Parser] = PARSERS
) -> dict[str, Any]:
    """The values of a dict of the settings, parsed; raises UnknownJobOption for other keys."""
    unknown = sorted(str(key) for key in given if key not in parsers)
    if unknown:
        raise UnknownJobOption(
            f"{place} has unknown keys: {', '.join(unknown)}.",
            hint=f"The known ones are: {', '.join(parsers)}.",
        )
    return {key: parsers[key](f"{place}[{key!r}]", value) for key, value in given.items()}
