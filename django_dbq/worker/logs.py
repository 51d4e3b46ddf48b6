"""What a worker logs of its jobs, and where that is shown if the project has not set up logging."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from django_dbq import clock

LINES_A_SECOND = 100  # a line costs more than a short job

logger = logging.getLogger("django_dbq.worker")

_handler: logging.Handler | None = None


def show_logs() -> None:
    """Without a logging set-up of the project's, show what the worker does on standard error."""
    global _handler
    ours = logging.getLogger("django_dbq")
    if ours.hasHandlers():
        return
    _handler = logging.StreamHandler()
    _handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours.addHandler(_handler)
    ours.setLevel(logging.INFO)


def are_shown() -> bool:
    """Whether it is we who show them, so that a process of our own should do so too."""
    return _handler in logging.getLogger("django_dbq").handlers


def log(level: int, message: str, *args: object, exc_info: Any = None) -> None:
    """Log it; a log that is broken (a filter that raises, say) must not cost a job its outcome."""
    with contextlib.suppress(Exception):
        logger.log(level, message, *args, exc_info=exc_info)


class Rationed:
    """INFO lines that may come by the thousand: so many a second, then a count of the rest.

    With the level DEBUG every one is logged.
    """

    def __init__(self, level_of: logging.Logger, count: str = "") -> None:
        """`count`: the line for the rest, if wanted."""
        self._level_of, self._count = level_of, count
        self._second_ends_at = float("-inf")
        self._told = self._untold = 0

    def take_a_line(self) -> bool:
        """Whether the next line is to be logged, which counts it; before it is put together.

        Threads may disturb each other's counting, by a line or two.
        """
        if not self._level_of.isEnabledFor(logging.INFO):
            return False
        if clock.monotonic() >= self._second_ends_at:
            self.settle()
            self._second_ends_at = clock.monotonic() + 1
        if self._told >= LINES_A_SECOND and not self._level_of.isEnabledFor(logging.DEBUG):
            self._untold += 1
            return False
        self._told += 1
        return True

    def tell(self, message: str, *args: object) -> None:
        """Log a wanted line."""
        log(logging.INFO, message, *args)

    def settle(self, *, now: bool = False) -> None:
        """When the second is over, or `now`: say how many lines it has not seen."""
        if clock.monotonic() < self._second_ends_at and not now:
            return
        untold, self._told, self._untold = self._untold, 0, 0
        if untold and self._count:
            log(logging.INFO, self._count, untold)


MORE_DONE = "Jobs done: %d more in a second; level DEBUG names each."

DONE = Rationed(logger, MORE_DONE)
"""One line for each task that was run."""
