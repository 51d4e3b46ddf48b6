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
from typing import TextIO

from example.stop import StopRequest

MANAGE = Path(__file__).resolve().parent / "manage.py"
GRACE_SECONDS = 20.0  # for the running tasks; the longest module takes a second or two
ASK_AGAIN_SECONDS = 1.5  # a worker takes signals that come sooner for one and the same wish
LINES_KEPT = 20


class Worker:
    """A worker in a process of its own; leaving the `with` stops it and waits until it is gone."""

    def __init__(self, *options: str, stop_request: StopRequest) -> None:
        self.command = [sys.executable, str(MANAGE), "worker", *options]
        self.last_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.had_to_be_killed = False
        self._stop_request = stop_request
        self._unread: queue.SimpleQueue[tuple[bool, str]] = queue.SimpleQueue()

    def __enter__(self) -> Worker:
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C reaches every process of the terminal's group. In a session of its own the
            # worker hears of it from us only, and once: the second time means "drop everything".
            start_new_session=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "EXAMPLE_LOG_LEVEL": "WARNING"},
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, is_complaint), daemon=True)
            for stream, is_complaint in (
                (self._process.stdout, False),
                (self._process.stderr, True),
            )
        ]
        for reader in self._readers:
            reader.start()
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
        self._ask()
        asked_at = began = time.monotonic()
        while not self._is_gone_within(0.1):
            now = time.monotonic()
            if self._stop_request.is_urgent and now - asked_at > ASK_AGAIN_SECONDS:
                self._ask()
                asked_at = now
            if now - began > GRACE_SECONDS:
                self._kill()
        for reader in self._readers:
            reader.join(timeout=1)  # what it said last

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

    def new_lines(self) -> list[tuple[bool, str]]:
        """What it has said since the last call, each line with whether it is a complaint."""
        lines = []
        while not self._unread.empty():
            lines.append(self._unread.get())
        return lines

    def _read(self, stream: TextIO, is_complaint: bool) -> None:
        with stream:
            for line in stream:
                if line.strip():
                    self.last_lines.append(line.rstrip())
                    self._unread.put((is_complaint, line.rstrip()))
