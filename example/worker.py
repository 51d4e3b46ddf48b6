"""The worker of the run: `manage.py worker`, started and stopped as a person would do it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from example.stop import StopRequest

MANAGE = Path(__file__).resolve().parent / "manage.py"
GRACE_SECONDS = 20.0  # for the running tasks; the longest module takes a second or two
LINES_KEPT = 20


class Worker:
    """A worker in a process of its own; leaving the `with` stops it and waits until it is gone."""

    def __init__(self, *options: str, stop_request: StopRequest) -> None:
        self.command = [sys.executable, str(MANAGE), "worker", *options]
        self.last_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.had_to_be_killed = False
        self._stop_request = stop_request
        self._unread: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Worker:
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C reaches every process of the terminal's group. In a session of its own the
            # worker hears of it from us only, and once: the second time means "drop everything".
            start_new_session=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "EXAMPLE_LOG_LEVEL": "WARNING"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def stop(self) -> None:
        """Have it finish its running tasks and go; when the stop is urgent, go at once."""
        was_urgent = self._stop_request.is_urgent
        self._ask()
        deadline = time.monotonic() + GRACE_SECONDS
        while not self._is_gone_within(0.1):
            if self._stop_request.is_urgent and not was_urgent:
                was_urgent = True
                self._ask()
            if time.monotonic() > deadline:
                self._kill()
        self._reader.join(timeout=1)  # what it said last

    def _ask(self) -> None:
        if self.exit_code is None:
            self._process.send_signal(signal.SIGTERM)

    def _is_gone_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _kill(self) -> None:
        self.had_to_be_killed = True
        if hasattr(os, "killpg"):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session: what it forked as well
        else:
            self._process.kill()

    def new_lines(self) -> list[str]:
        """What it has said since the last call."""
        lines = []
        while not self._unread.empty():
            lines.append(self._unread.get())
        return lines

    def _read(self) -> None:
        for line in self._process.stdout:
            self.last_lines.append(line.rstrip())
            self._unread.put(line.rstrip())
