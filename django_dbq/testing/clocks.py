"""A clock that a test can move, in place of this host's and the databases'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from unittest import mock

from django.utils import timezone as django_timezone

from django_dbq import clock
from django_dbq.clock import as_aware, as_stored


class MovedClock:
    """As far ahead of Django's clock as it was moved. It goes on, so that jobs keep their order."""

    def __init__(self, ask: Callable[[], datetime]) -> None:
        self._ask = ask
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """What time it is, aware."""
        return as_aware(self._ask()) + self._ahead

    def django_now(self) -> datetime:
        """The same as Django tells it: naive, if USE_TZ is off."""
        return as_stored(self.now())

    def forward(self, by: timedelta | None = None, **units: float) -> datetime:
        """Move it by a timedelta, or by what makes one: `forward(hours=1)`; returns the new time.

        Nothing runs by that alone: call `run_jobs()` then.
        """
        self._ahead += timedelta(**units) if by is None else by
        return self.now()

    def move_to(self, moment: datetime) -> datetime:
        """Move it to this time, in the past if you like; returns the new time."""
        return self.forward(as_aware(moment) - self.now())


_moved: list[MovedClock] = []


@contextmanager
def move_clock(to: datetime | None = None, *, timezone_now: bool = True) -> Iterator[MovedClock]:
    """Within this block, you can move the clock of the queue and of Django's `timezone.now()`.

    The clock begins at the present time, or at `to`, and goes on by itself. `timezone_now=False`
    leaves Django's `timezone.now()` alone: then a task that schedules a job an hour from now does
    so by the clock that was not moved.

    It is moved on top of Django's: inside `freeze_time` or `time_machine.travel`, it begins there.
    """
    moved = MovedClock(django_timezone.now)
    if to is not None:
        moved.move_to(to)
    with ExitStack() as stack:
        stack.enter_context(clock.told_by(moved.now))
        if timezone_now:
            stack.enter_context(mock.patch.object(django_timezone, "now", moved.django_now))
        _moved.append(moved)
        stack.callback(_moved.remove, moved)
        yield moved


@contextmanager
def one_clock() -> Iterator[None]:
    """Within this block the databases go by the clock of this process, whoever has moved that."""
    if _moved:
        yield
        return
    with clock.told_by(clock.host_now):
        yield


@contextmanager
def movable_clock() -> Iterator[MovedClock]:
    """The clock that the test has in its hands, or else one for this block."""
    if _moved:
        yield _moved[-1]
        return
    with move_clock() as moved:
        yield moved
