"""How long something is: a timedelta, or a number of seconds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Union

Duration = Union[timedelta, float]  # a bare number is seconds


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
