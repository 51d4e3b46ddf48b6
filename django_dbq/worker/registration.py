"""A worker's row, its heartbeats, and how long it may rely on them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from ctypes import c_double
from datetime import timedelta
from multiprocessing.sharedctypes import RawValue

from django.db import Error

from django_dbq import clock
from django_dbq.clock import DatabaseClock
from django_dbq.engines import Engine
from django_dbq.maintenance.rescuer import rescue_silent

logger = logging.getLogger("django_dbq.worker")

BEATS_PER_LEASE = 5  # four may be lost before a living worker is taken for dead


class Lease:
    """How long a worker may go on claiming without a heartbeat; shared with its supervisor.

    A worker that was frozen, or cut off, must not claim under an owner that others have buried. So
    it stops before they can: after two thirds of the time that they wait.
    """

    def __init__(self, length: timedelta) -> None:
        self._good_for_seconds = length.total_seconds() * 2 / 3
        # Memory shared over a fork: the supervisor writes, the worker reads. CLOCK_MONOTONIC is
        # the same for all processes of a host.
        self._renewed_at = RawValue(c_double, clock.monotonic())

    def renew(self, sent_at: float) -> None:
        """A heartbeat that was sent at that monotonic time has been written."""
        self._renewed_at.value = sent_at

    @property
    def holds(self) -> bool:
        """Whether the worker may claim."""
        return clock.monotonic() - float(self._renewed_at.value) < self._good_for_seconds


class Registrar:
    """Registers workers, beats for them and finds out about the dead ones.

    Used by the process that no task can hold up: the supervisor, or a thread where there is none.
    """

    def __init__(self, engine: Engine, *, lease: timedelta) -> None:
        self.engine = engine
        self.clock = DatabaseClock(engine.now)
        self.lease = lease
        self.beat_interval_seconds = lease.total_seconds() / BEATS_PER_LEASE
        self._beat_at = self._written_at = float("-inf")
        self._unbroken_since: float | None = None

    def register(self, queues: Sequence[str], *, pid: int) -> int:
        """Make a worker known; returns its id, the owner of all that it will claim."""
        self.clock.synchronize()
        worker = self.engine.register(
            hostname=socket.gethostname(), pid=pid, queues=queues, now=self.clock.now()
        )
        return int(worker.pk)

    def seconds_to_next_beat(self) -> float:
        return max(0.0, self._beat_at + self.beat_interval_seconds - clock.monotonic())

    def beat(self, leases: dict[int, Lease]) -> set[int]:
        """Renew these workers' leases; returns those that others have taken for dead already.

        A database that cannot be reached renews nothing, and is only logged.
        """
        sent_at = self._beat_at = clock.monotonic()
        try:
            self.clock.synchronize()
            dead = self.engine.heartbeat(list(leases), now=self.clock.now())
        except Error as error:
            logger.warning("No heartbeat could be written: %s", str(error).strip())
            self.engine.forget_connection()
            self._unbroken_since = None
            return set()
        self._note_beat(sent_at)
        for worker_id in leases.keys() - dead:
            leases[worker_id].renew(sent_at)
        return dead

    def _note_beat(self, sent_at: float) -> None:
        """A beat was written. If it took long, the database stalled, and everybody's came late."""
        written_at = clock.monotonic()
        good = self.lease.total_seconds() / 2
        if written_at - self._written_at > good or self._unbroken_since is None:
            self._unbroken_since = written_at
        if written_at - sent_at > self.beat_interval_seconds:
            self._beat_at = float("-inf")  # what it wrote is old already: beat again at once
        self._written_at = written_at

    @property
    def may_judge_others(self) -> bool:
        """Whether silence of other workers means that they are dead.

        Not right after the database was away or stalled: then nobody's heartbeat was written, and
        each needs the time of one lease to be heard again.
        """
        if self._unbroken_since is None:
            return False
        return clock.monotonic() - self._unbroken_since >= self.lease.total_seconds()

    def rescue_silent(self) -> None:
        """Rescue for all, if this process can tell who is silent; errors are only logged."""
        if self.may_judge_others:
            try:
                rescue_silent(self.engine, lease=self.lease, now=self.clock.now())
            except Error as error:
                logger.warning("Silent workers could not be looked for: %s", str(error).strip())
                self.engine.forget_connection()
