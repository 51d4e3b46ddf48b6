"""When to look again: something was finished, a stop was asked, or jobs have come."""

from __future__ import annotations

import contextlib
import selectors
import socket
import weakref

from django_dbq import clock
from django_dbq.engines.doorbells import Doorbell

# A worker is busy, so that nobody should ring for it, when it has had work in hand for so long, and
# no time to sleep in between.
BUSY_SECONDS = 0.05
SLEEP_SECONDS = 0.003

Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Wakeup:
    """A bell that threads and signal handlers ring and that the worker's loop waits for.

    An idle worker waits for its database's doorbell at the same time.
    """

    def __init__(self) -> None:
        # Not an Event: a signal handler that sets one while the same thread waits for it can
        # deadlock. And a socket, because it can be waited for beside the database's.
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._selector = Selector()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._has_rung = self._is_asleep = False
        self._busy_since: float | None = None
        weakref.finalize(self, _close, self._selector, self._bell, self._rope)

    def ring(self) -> None:
        """Wake the loop; cheap when it is going to wake anyway. Safe in a signal handler."""
        self._has_rung = True  # before the question, as the sleeper asks in the other order
        if self._is_asleep:
            self._is_asleep = False
            with contextlib.suppress(OSError):  # it is full: then it rings already
                self._rope.send(b".")

    def wait(self, seconds: float) -> bool:
        """Sleep until the bell rings, at most for `seconds`; whether it rang."""
        return self._sleep(seconds)

    def wait_for_jobs(self, doorbell: Doorbell, seconds: float, *, found_work: bool) -> None:
        """Sleep until the bell rings or there may be a job to claim, at most for `seconds`.

        `found_work`: whether the last claim, right before, brought any.
        """
        ends_at = clock.monotonic() + seconds
        if found_work and self._seconds_until_busy() <= 0:
            doorbell.leave()
        while True:
            pause = min(doorbell.pause_seconds(), ends_at - clock.monotonic())
            began_at = clock.monotonic()
            has_rung = self._sleep(pause, doorbell.socket)
            if clock.monotonic() - began_at >= SLEEP_SECONDS:
                self._busy_since = None
            if has_rung or doorbell.rang() or clock.monotonic() >= ends_at:
                return

    def wait_while_busy(self, doorbell: Doorbell, seconds: float) -> None:
        """Sleep until the bell rings, at most for `seconds`: no job could be started now."""
        ends_at = clock.monotonic() + seconds
        if self._sleep(min(seconds, self._seconds_until_busy())):
            return
        if self._seconds_until_busy() <= 0:
            doorbell.leave()
        self._sleep(ends_at - clock.monotonic())

    def _seconds_until_busy(self) -> float:
        """How long this goes on until the worker counts as busy; it has work in hand."""
        now = clock.monotonic()
        if self._busy_since is None:
            self._busy_since = now
        return self._busy_since + BUSY_SECONDS - now

    def _sleep(self, seconds: float, also: int | None = None) -> bool:
        self._is_asleep = True
        try:
            if not self._has_rung and seconds > 0:
                self._wait_for_either(seconds, also)
        finally:
            self._is_asleep = False
        if self._has_rung:  # asked first: setting it without need could hide a ring of just now
            self._has_rung = False
            return True
        return False

    def _wait_for_either(self, seconds: float, also: int | None) -> None:
        if also is not None:  # for this once: after a reconnect it is another one
            self._selector.register(also, selectors.EVENT_READ)
        try:
            ready = self._selector.select(seconds)
        finally:
            if also is not None:
                self._selector.unregister(also)
        if any(key.fileobj is self._bell for key, _ in ready):
            with contextlib.suppress(BlockingIOError):
                self._bell.recv(4096)


def _close(selector: selectors.BaseSelector, *sockets: socket.socket) -> None:
    selector.close()
    for each in sockets:
        each.close()
