"""From when on a job may run."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.utils.dateparse import parse_datetime

from django_dbq.durations import FIRST_YEAR, LAST_YEAR, is_storable
from django_dbq.exceptions import InvalidJob


def as_due(run_after: datetime | timedelta | None, *, now: datetime) -> datetime | None:
    """The time itself, for one that may be given as a timedelta from now; raises InvalidJob."""
    if not isinstance(run_after, timedelta):
        return run_after
    try:
        return now + run_after
    except OverflowError:
        raise InvalidJob("run_after", f"{run_after!r} from now is in no year of ours.") from None


def why_no_time(run_after: object) -> str | None:
    """Why a `run_after` cannot be stored, on some database or other; None if it can."""
    if run_after is None or hasattr(run_after, "resolve_expression"):
        return None
    if isinstance(run_after, timedelta):
        return "it is a timedelta. Use timezone.now() + timedelta(…)."
    moment = run_after
    if isinstance(run_after, str):
        try:
            moment = parse_datetime(run_after) or date.fromisoformat(run_after)
        except ValueError:
            moment = None
    if not isinstance(moment, date):
        return f"{run_after!r} is no time."
    if not is_storable(moment):
        return f"{run_after!r} is not of a year from {FIRST_YEAR} to {LAST_YEAR}."
    return None
