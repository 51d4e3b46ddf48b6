"""What time it is, for all that is decided by it.

Elsewhere only these read a clock: new ids (`rules/identifiers.py`), 3.3's own methods and command,
an engine whose database has no clock but this host's, and what makes a time of a `run_after` that
is given as a timedelta.

Leases, heartbeats and due times are decided by one clock, the database's, because hosts disagree;
but who is silent also by how long that lasts (`rules/silence.py`), because that clock may be set.
Asking it for every statement would cost a round trip each time, so a `DatabaseClock` keeps the
offset between it and this host, and `now` travels through the package as an argument that tests
can move.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from django.conf import settings
from django.utils import timezone as django_timezone

monotonic = time.monotonic

GOOD_FOR_SECONDS = 30.0
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


# What tells the time in place of this host and of the databases; for `testing/` alone.
_stand_in: Callable[[], datetime] | None = None


def aware_now() -> datetime:
    """This host's time, always aware, whatever USE_TZ says."""
    return host_now() if _stand_in is None else _stand_in()


def host_now() -> datetime:
    """The same, whatever stands in for it."""
    return as_aware(django_timezone.now())


def database_now(ask: Callable[[], datetime]) -> datetime:
    """What the database answers when it is asked for the time."""
    return ask() if _stand_in is None else _stand_in()


@contextmanager
def told_by(stand_in: Callable[[], datetime]) -> Iterator[None]:
    """Within this block the process has one clock, this one: for tests that move it."""
    global _stand_in
    before, _stand_in = _stand_in, stand_in
    try:
        yield
    finally:
        _stand_in = before


def as_aware(moment: datetime) -> datetime:
    """`moment` with a time zone: Django's current one, if it has none."""
    return django_timezone.make_aware(moment) if django_timezone.is_naive(moment) else moment


def as_stored(moment: datetime) -> datetime:
    """`moment` in the form that Django's DateTimeField takes: naive local time without USE_TZ."""
    if settings.USE_TZ or django_timezone.is_naive(moment):
        return moment
    return django_timezone.make_naive(moment)


def at_microsecond(number: int) -> datetime:
    """The aware time so many microseconds after 1970 began."""
    return EPOCH + timedelta(microseconds=number)


class DatabaseClock:
    """The database's time, computed from the last answer and what this host measured since.

    Accurate to half a round trip, which is far below the seconds that leases are made of, and
    unmoved when somebody sets this host's clock.
    """

    def __init__(self, ask: Callable[[], datetime]) -> None:
        self._ask = ask
        self._answer = datetime.now(timezone.utc)
        self._answered_at = monotonic()

    def synchronize(self) -> None:
        """Ask the database once; raises what the database raises when it cannot be reached."""
        before = monotonic()
        self._answer = self._ask()
        self._answered_at = (before + monotonic()) / 2

    @property
    def is_old(self) -> bool:
        """Whether to ask again; `CLOCK_MONOTONIC` stands still in a suspended machine."""
        return monotonic() - self._answered_at > GOOD_FOR_SECONDS

    def now(self) -> datetime:
        return self._answer + timedelta(seconds=monotonic() - self._answered_at)
