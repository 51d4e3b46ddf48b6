"""A process beside the workers, for the duty that may take long: deleting finished jobs."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from django.db import connections

from django_dbq import clock
from django_dbq.engines import engine_for
from django_dbq.maintenance.pruner import Pruner
from django_dbq.settings import Retention
from django_dbq.worker.connections import close_all_connections
from django_dbq.worker.processes import cause_of_death, die_with_parent
from django_dbq.worker.registration import Lease, Registrar
from django_dbq.worker.shutdown import STOP_SIGNALS

logger = logging.getLogger("django_dbq.worker")

RESTART_PAUSE_SECONDS = 5.0
EXIT_SECONDS = 2.0  # for which an exit waits for the page at hand


class Housekeeper:
    """Deletes apart from those who must not wait: a slow page delays no heartbeat, and what a
    project's foreign keys and receivers do when a job is deleted is not done in the supervisor.

    Each supervisor has one, if jobs are to be deleted at all; one works, and the others stand by.
    Who works is told by a lease that it shares with its supervisor.
    """

    def __init__(self, using: str, retention: Retention | None, *, lease: timedelta) -> None:
        self._using = using
        self._retention = retention
        self._duty = Lease(lease)
        self._duty.renew(float("-inf"))
        self._process: Any = None
        self._start_at = float("-inf")

    def renew_duty(self, registrar: Registrar, worker_ids: Collection[int]) -> None:
        """Let it work a while longer, if the duty is with these workers."""
        if self._retention is not None and registrar.has_duty(worker_ids):
            self._duty.renew(clock.monotonic())

    def keep_running(self, *, not_its_own: Iterable[Connection]) -> None:
        """Start its process if it is wanted and not there; `not_its_own` it must not hold open."""
        if self._retention is None or clock.monotonic() < self._start_at:
            return
        if self._process is not None:
            if self._process.is_alive():
                return
            logger.warning(
                "The process that deletes finished jobs is gone (%s); another takes its place.",
                cause_of_death(self._process.exitcode),
            )
        self._start_at = clock.monotonic() + RESTART_PAUSE_SECONDS
        close_all_connections()  # never inherited: two processes on one socket break both
        self._process = multiprocessing.get_context("fork").Process(
            target=self._be_a_process, args=(list(not_its_own), os.getpid()), name="dbq-housekeeper"
        )
        try:
            self._process.start()
        except OSError as error:
            logger.error("No process to delete finished jobs can be started: %s", error)
            self._process = None

    def stop(self) -> None:
        """End its process; the server rolls back what it is at."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _be_a_process(self, not_its_own: list[Connection], supervisor_pid: int) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(supervisor_pid)
        for connection in not_its_own:
            connection.close()
        self._work(threading.Event())

    @contextlib.contextmanager
    def in_a_thread(self) -> Iterator[None]:
        """Where there is no supervisor."""
        over = threading.Event()
        thread = threading.Thread(target=self._work, args=(over,), daemon=True)
        if self._retention is not None:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self._retention is not None:
                thread.join(EXIT_SECONDS)

    def _work(self, over: threading.Event) -> None:
        assert self._retention is not None  # noqa: S101 (for the type checker)
        engine = engine_for(self._using)
        Pruner(engine, self._retention, has_duty=lambda: self._duty.holds).run(over)
        connections.close_all()
