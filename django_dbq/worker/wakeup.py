"""When to look again: something was finished, a stop was asked, or it is time to poll."""

from __future__ import annotations

from queue import Empty, SimpleQueue

SHORTEST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5


class Wakeup:
    """A bell that threads and signal handlers ring and that the worker's loop waits for."""

    def __init__(self) -> None:
        # Not an Event: a signal handler that sets one while the same thread waits for it can
        # deadlock. SimpleQueue.put() is documented to be reentrant.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._pause_seconds = SHORTEST_PAUSE_SECONDS

    def ring(self) -> None:
        """Wake the loop; cheap when it is going to wake anyway."""
        if self._bell.empty():
            self._bell.put(None)

    def wait(self, seconds: float) -> None:
        """Sleep until the bell rings, at most for `seconds`."""
        try:
            self._bell.get(timeout=max(seconds, 0.0))
        except Empty:
            return
        while not self._bell.empty():
            self._bell.get()

    def poll_pause_seconds(self, *, found_work: bool) -> float:
        """How long an idle worker waits before it asks again: longer, the longer it is idle."""
        if found_work:
            self._pause_seconds = SHORTEST_PAUSE_SECONDS
        else:
            self._pause_seconds = min(self._pause_seconds * 1.5, LONGEST_PAUSE_SECONDS)
        return self._pause_seconds
