"""The `DBQ` setting as a frozen, validated value; every default stands here.

Read when used, never at import, so that `override_settings(DBQ=...)` works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Optional

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from django_dbq.durations import as_duration

FINISHED = ("COMPLETE", "FAILED", "CANCELLED")
SINGLE_NAMES = "JOBS"  # the key of RETENTION for what single names have of their own

AN_AGE = "a timedelta or a number of seconds, from 0 up, None for ever"

AgeByState = Mapping[str, Optional[timedelta]]


@dataclass(frozen=True)
class Retention:
    """How long finished jobs are kept, by their state; None: for ever."""

    by_state: AgeByState
    by_name: Mapping[str, AgeByState] = field(default_factory=dict)
    """Of jobs of these names; each says it for every state."""

    @property
    def is_endless(self) -> bool:
        """Whether all of them are kept for ever."""
        ages = [
            *self.by_state.values(),
            *(age for own in self.by_name.values() for age in own.values()),
        ]
        return all(age is None for age in ages)


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

    retention: Retention | None = None
    """How long finished jobs are kept; then workers delete them. None, 3.3's way: for ever. A
    duration; or a dict of them by state, in which `"JOBS"` holds those of single names."""

    max_payload_bytes: int | None = 1_048_576
    """How long the JSON of a job's workspace, or of a Django task's arguments, may be when it is
    enqueued. None: any length."""

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
        _require_size("MAX_PAYLOAD_BYTES", self.max_payload_bytes)


KNOWN_KEYS = tuple(field.name.upper() for field in fields(QueueSettings))


def current() -> QueueSettings:
    """The project's settings as they are now; raises ImproperlyConfigured when they are wrong."""
    given = _given()
    unknown = sorted(str(key) for key in given if key not in KNOWN_KEYS)
    if unknown:
        raise ImproperlyConfigured(
            f"settings.DBQ has unknown keys: {', '.join(unknown)}. "
            f"The known ones are: {', '.join(KNOWN_KEYS)}."
        )
    values = {key.lower(): value for key, value in given.items()}
    for key, parse in (("lease", _lease), ("grace", _grace), ("retention", _retention)):
        if key in values:
            values[key] = parse(values[key])
    return QueueSettings(**values)


def max_payload_bytes() -> int | None:
    """That setting alone: it is asked for with each job, and the others take time to parse."""
    value: int | None = _given().get("MAX_PAYLOAD_BYTES", QueueSettings.max_payload_bytes)
    _require_size("MAX_PAYLOAD_BYTES", value)
    return value


def _given() -> Mapping[str, Any]:
    given = getattr(settings, "DBQ", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"settings.DBQ must be a dict, not {given!r}.")
    return given


def _require_size(key: str, value: Any) -> None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_number and value > 0):
        raise _wrong(key, value, "a whole number of bytes from 1 up, or None for any length")


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


def _retention(value: Any) -> Retention | None:
    place = "settings.DBQ['RETENTION']"
    if not isinstance(value, Mapping):
        age = _age(place, value, f"{AN_AGE}, or a dict of these by state")
        return None if age is None else Retention(dict.fromkeys(FINISHED, age))
    by_state = _ages(place, value, dict.fromkeys(FINISHED), also=(SINGLE_NAMES,))
    place, given = f"{place}[{SINGLE_NAMES!r}]", value.get(SINGLE_NAMES, {})
    if not isinstance(given, Mapping):
        raise _wrong_at(place, given, "a dict of job names and how long jobs of that name are kept")
    by_name = {
        name: _ages_of_name(f"{place}[{name!r}]", each, by_state) for name, each in given.items()
    }
    retention = Retention(by_state, by_name)
    return None if retention.is_endless else retention


def _ages_of_name(place: str, value: Any, by_state: AgeByState) -> AgeByState:
    if isinstance(value, Mapping):
        return _ages(place, value, by_state)
    return dict.fromkeys(FINISHED, _age(place, value, f"{AN_AGE}, or a dict of these by state"))


def _ages(
    place: str, given: Mapping[Any, Any], otherwise: AgeByState, also: tuple[str, ...] = ()
) -> AgeByState:
    known = (*FINISHED, *also)
    unknown = sorted(str(key) for key in given if key not in known)
    if unknown:
        raise ImproperlyConfigured(
            f"{place} has unknown keys: {', '.join(unknown)}. "
            f"The known ones are: {', '.join(known)}."
        )
    return {
        state: _age(f"{place}[{state!r}]", given[state], AN_AGE)
        if state in given
        else otherwise[state]
        for state in FINISHED
    }


def _age(place: str, value: Any, expected: str) -> timedelta | None:
    try:
        return None if value is None else as_duration(value)
    except ValueError:
        raise _wrong_at(place, value, expected) from None


def _duration(key: str, value: Any, expected: str) -> timedelta:
    try:
        return as_duration(value)
    except ValueError:
        raise _wrong(key, value, expected) from None


def _wrong(key: str, found: object, expected: str) -> ImproperlyConfigured:
    return _wrong_at(f"settings.DBQ[{key!r}]", found, expected)


def _wrong_at(place: str, found: object, expected: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{place} must be {expected}, not {found!r}.")
