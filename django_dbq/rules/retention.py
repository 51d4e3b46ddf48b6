"""Which finished jobs have been kept for long enough, and at what pace they are deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from django_dbq.rules.states import FINAL, State
from django_dbq.settings import Retention

LONG_BEFORE_ANY_JOB = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIRST_PAGE = 200  # rows
# Some time of a page is the wait for the disk or for others, which a smaller page would not save.
SMALLEST_PAGE, LARGEST_PAGE = 100, 5_000
SHORTEST_REST_SECONDS = 60.0  # between two sweeps
SHARE_OF_LOOKING = 0.02  # of the time may go into looking at jobs that stay


@dataclass(frozen=True)
class Limit:
    """Jobs of this state that finished by then are over: of these names, or of all but these."""

    state: State
    finished_by: datetime
    names: frozenset[str]
    are_the_others_meant: bool


def limits(retention: Retention, now: datetime) -> Iterator[Limit]:
    """What is over now. A job that none of the limits meets stays."""
    for state in FINAL:
        names_by_age: dict[timedelta | None, set[str]] = {}
        for name, ages in retention.by_name.items():
            names_by_age.setdefault(ages[state], set()).add(name)
        for age, names in names_by_age.items():
            if age is not None:
                yield Limit(state, _before(now, age), frozenset(names), False)
        age = retention.by_state[state]
        if age is not None:
            yield Limit(state, _before(now, age), frozenset(retention.by_name), True)


def youngest_that_is_over(retention: Retention, now: datetime) -> datetime:
    """Jobs that were created after that moment all stay."""
    return max(limit.finished_by for limit in limits(retention, now))


def _before(now: datetime, age: timedelta) -> datetime:
    # An age may reach back to before there were years; no job does.
    return now - min(age, now - LONG_BEFORE_ANY_JOB)


@dataclass(frozen=True)
class Pace:
    """How long a page should take, and what share of the time pages may take in all."""

    page_seconds: float
    share: float

    def next_size(self, size: int, seconds: float) -> int:
        """How many rows to look at after a page of `size` that took `seconds`."""
        factor = min(max(self.page_seconds / max(seconds, 1e-6), 0.25), 2.0)
        return min(max(round(size * factor), SMALLEST_PAGE), LARGEST_PAGE)

    def pause_after(self, seconds: float) -> float:
        """How long to leave the database to others after a page that took `seconds`."""
        return seconds * (1 / self.share - 1)


def rest_after(seconds_in_vain: float) -> float:
    """How long to wait before the next sweep, after one that looked so long at jobs that stay."""
    return max(SHORTEST_REST_SECONDS, seconds_in_vain / SHARE_OF_LOOKING)
