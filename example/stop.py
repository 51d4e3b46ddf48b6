"""Signals that ask the run to stop. Imports nothing slow: it listens before Django is loaded."""

from __future__ import annotations

import signal
import threading

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows lacks the last


class StopRequest:
    """Remembers what was asked; nothing is interrupted, so nothing has to be cleaned up after."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self._asked = threading.Event()

    def listen(self) -> None:
        for name in NAMES:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._hear)

    def _hear(self, signum: int, frame: object) -> None:
        self.signals.append(signum)
        self._asked.set()

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    @property
    def is_urgent(self) -> bool:
        """Asked twice: somebody is tired of waiting."""
        return len(self.signals) > 1

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return 128 + self.signals[0] if self.signals else 0

    def wait(self, seconds: float) -> bool:
        return self._asked.wait(seconds)
