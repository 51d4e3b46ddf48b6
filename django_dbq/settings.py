"""The `DBQ` setting as a frozen, validated value; every default stands here.

Read when used, never at import, so that `override_settings(DBQ=...)` works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from django_dbq.durations import as_duration


@dataclass(frozen=True)
class QueueSettings:
    """What a project sets in `DBQ`, each key in upper case."""

    rate_limit: float = 1
    """Seconds between one job of a worker and its next; 0 for none. `--rate_limit` overrides it."""

    creation_hook_errors: str = "raise"
    """`"raise"`, or `"log"`: 3.3's way, which logs the error and drops the job in silence."""

    lease: timedelta = timedelta(seconds=10)
    """A worker that has sent no heartbeat for this long is taken for dead, and its jobs are given
    to others. A timedelta, or a number of seconds."""

    grace: timedelta | None = None
    """How long a worker that was asked to exit lets its running tasks go on; then it interrupts
    them and gives their jobs back. None: until they are done. `--grace` overrides it."""

    max_crashes: int = 3
    """A task that so many worker processes died of is FAILED and not tried again."""

    def __post_init__(self) -> None:
        if isinstance(self.rate_limit, bool) or not isinstance(self.rate_limit, (int, float)):
            raise _wrong("RATE_LIMIT", self.rate_limit, "a number of seconds")
        if not 0 <= self.rate_limit < float("inf"):
            raise _wrong("RATE_LIMIT", self.rate_limit, "0 or a positive number of seconds")
        if self.creation_hook_errors not in ("raise", "log"):
            raise _wrong("CREATION_HOOK_ERRORS", self.creation_hook_errors, '"raise" or "log"')
        if isinstance(self.max_crashes, bool) or not isinstance(self.max_crashes, int):
            raise _wrong("MAX_CRASHES", self.max_crashes, "a whole number")
        if self.max_crashes < 1:
            raise _wrong("MAX_CRASHES", self.max_crashes, "a whole number from 1 up")


KNOWN_KEYS = tuple(field.name.upper() for field in fields(QueueSettings))


def current() -> QueueSettings:
    """The project's settings as they are now; raises ImproperlyConfigured when they are wrong."""
    given = getattr(settings, "DBQ", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"settings.DBQ must be a dict, not {given!r}.")
    unknown = sorted(str(key) for key in given if key not in KNOWN_KEYS)
    if unknown:
        raise ImproperlyConfigured(
            f"settings.DBQ has unknown keys: {', '.join(unknown)}. "
            f"The known ones are: {', '.join(KNOWN_KEYS)}."
        )
    values = {key.lower(): value for key, value in given.items()}
    for key, parse in (("lease", _lease), ("grace", _grace)):
        if key in values:
            values[key] = parse(values[key])
    return QueueSettings(**values)


def _lease(value: Any) -> timedelta:
    expected = "a timedelta or a number of seconds, from 1 second up"
    lease = _duration("LEASE", value, expected)
    if lease < timedelta(seconds=1):
        raise _wrong("LEASE", value, expected)
    return lease


def _grace(value: Any) -> timedelta | None:
    if value is None:
        return None
    return _duration("GRACE", value, "a timedelta or a number of seconds, from 0 up, or None")


def _duration(key: str, value: Any, expected: str) -> timedelta:
    try:
        return as_duration(value)
    except ValueError:
        raise _wrong(key, value, expected) from None


def _wrong(key: str, found: object, expected: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"settings.DBQ[{key!r}] must be {expected}, not {found!r}.")
