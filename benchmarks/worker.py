"""A real `manage.py worker`, and what it used. Its log goes to a file, as in production."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from benchmarks.machine import REPOSITORY

COMMAND = ("manage.py", "worker", "--rate_limit", "0")


@dataclass(frozen=True)
class Used:
    """By the whole tree of processes, from the start of the interpreter to its exit."""

    seconds: float
    cpu_seconds: float


class WorkerTree:
    """A started `manage.py worker`: a supervisor and the processes that it forks."""

    def __init__(self, *arguments: str, burst: bool = True) -> None:
        log = settings.DIRECTORY / "worker.log"
        with log.open("ab") as output:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                [sys.executable, *COMMAND, *["--burst"] * burst, *arguments],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "DBQ_BENCH_ALIASES": "default"},
            )
        self.pid = self._process.pid

    def wait(self, meanwhile: Callable[[], None] | None = None) -> Used:
        """Wait for its end; call `meanwhile` every tenth of a second until then."""
        pid, status, usage = os.wait4(self.pid, os.WNOHANG if meanwhile else 0)
        while not pid:
            meanwhile()  # type: ignore[misc]
            time.sleep(0.1)
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        self._process.returncode = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
        assert self._process.returncode == 0, f"the worker ended with wait status {status}"
        # The children that a process has waited for are part of its own account.
        return Used(time.monotonic() - self._started, usage.ru_utime + usage.ru_stime)

    def stop(self) -> None:
        """Ask it to exit, and wait until it has."""
        self._process.terminate()
        self._process.wait(30)

    def children(self) -> list[int]:
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(word) for word in text.split()]


def run_worker(*arguments: str) -> Used:
    return WorkerTree(*arguments).wait()
