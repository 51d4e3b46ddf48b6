"""How long something is: a timedelta, or a number of seconds; and how far off a time may be."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Union

Duration = Union[timedelta, float]  # a bare number is seconds

# Databases keep a time in UTC. That of a year 1 or 9999 may be, there or in the time zone of a
# session, one of a year that Python does not have: who reads it again, a claim say, fails.
FIRST_YEAR, LAST_YEAR = 2, 9998
LONGEST_WAIT = timedelta(days=365_000)  # from now on, so far off that nobody is there to see


def as_duration(value: Any) -> timedelta:
    """A timedelta, from one or from a number of seconds; raises ValueError for anything else."""
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            duration = timedelta(seconds=value)
        except (OverflowError, ValueError):  # infinite, too long, not a number
            raise ValueError(f"{value!r} seconds are no duration") from None
    else:
        raise ValueError(f"{value!r} is neither a timedelta nor a number of seconds")
    if duration < timedelta(0):
        raise ValueError(f"{value!r} is less than nothing")
    return duration


def as_wait(value: Any) -> timedelta:
    """The same for something that is to begin so long from now; raises ValueError."""
    wait = as_duration(value)
    if wait > LONGEST_WAIT:
        raise ValueError(f"{value!r} is longer than {LONGEST_WAIT.days} days")
    return wait


def is_storable(moment: date) -> bool:
    """Whether every database can keep this time, and give it back in every time zone."""
    return FIRST_YEAR <= moment.year <= LAST_YEAR
