"""A worker's row, its heartbeats, and how long it may rely on them."""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection, Sequence
from ctypes import c_double
from datetime import timedelta
from multiprocessing.sharedctypes import RawValue
from typing import Any

from django.db import Error

from django_dbq import clock
from django_dbq.clock import DatabaseClock
from django_dbq.engines import Engine
from django_dbq.maintenance.rescuer import rescue_abandoned, rescue_silent
from django_dbq.rules.silence import Silence

logger = logging.getLogger("django_dbq.worker")

BEATS_PER_LEASE = 5  # four may be lost before a living worker is taken for dead
SESSION_BEAT_SECONDS = 1.0  # what COMES_BACK_WITHIN of the rescuer relies on


class Lease:
    """How long a worker may go on claiming without a heartbeat; shared with its supervisor.

    A worker that was frozen, or cut off, must not claim under an owner that others have buried. So
    it stops before they can: after two thirds of the time that they wait.
    """

    def __init__(self, length: timedelta) -> None:
        self.length = length
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
    All beats come from one thread, whose database session stands for the workers.
    """

    def __init__(self, engine: Engine, *, lease: timedelta) -> None:
        self.engine = engine
        self.clock = DatabaseClock(engine.now)
        self.lease = lease
        self._longest_interval_seconds = lease.total_seconds() / BEATS_PER_LEASE
        self._beat_at = self._written_at = self._silence_sought_at = float("-inf")
        self._silence = Silence()
        self._unbroken_since: float | None = None
        self.is_cut_off = False  # the database has failed us, and no beat was written since
        self._session_is_held = False
        self._held: tuple[Any, frozenset[int]] | None = None  # the session, and for whom

    def register(self, queues: Sequence[str], *, pid: int, threads: int) -> int:
        """Make a worker known; returns its id, the owner of all that it will claim."""
        self.engine.limit_waiting()
        with self.engine.response_timeout():
            self.clock.synchronize()
            worker = self.engine.register(
                hostname=socket.gethostname(),
                pid=pid,
                queues=queues,
                threads=threads,
                now=self.clock.now(),
            )
        self._beat_at = float("-inf")  # soon: from then on the session stands for this one too
        return int(worker.pk)

    @property
    def beat_interval_seconds(self) -> float:
        """Each second while others see this session, and act soon when they see it no more; and
        while the database is away, because what waits for it waits for a beat.
        """
        longest = self._longest_interval_seconds
        is_urgent = self._session_is_held or self.is_cut_off
        return min(longest, SESSION_BEAT_SECONDS) if is_urgent else longest

    def seconds_to_next_beat(self) -> float:
        return max(0.0, self._beat_at + self.beat_interval_seconds - clock.monotonic())

    def beat(self, leases: dict[int, Lease]) -> set[int]:
        """Renew these workers' leases; returns those that others have taken for dead already.

        A database that cannot be reached renews nothing, and is only logged.
        """
        sent_at = self._beat_at = clock.monotonic()
        try:
            dead = self._send_beat(leases)
        except Error as error:
            self.note_failure("No heartbeat could be written", error)
            # At once: perhaps it was this session alone that was ended, and others see that it was.
            try:
                dead = self._send_beat(leases)
            except Error as another:
                self.note_failure("No heartbeat could be written in a new session", another)
                return set()
        self._note_beat(sent_at)
        for worker_id in leases.keys() - dead:
            leases[worker_id].renew(sent_at)
        return dead

    def _send_beat(self, worker_ids: Collection[int]) -> set[int]:
        self.engine.limit_waiting()
        with self.engine.response_timeout():
            self.clock.synchronize()
            dead = self.engine.heartbeat(list(worker_ids), now=self.clock.now())
            self._hold_session(frozenset(worker_ids) - dead)
        return dead

    def _hold_session(self, worker_ids: frozenset[int]) -> None:
        """Not before they were heard: who is, is safe while a lock changes hands."""
        wanted = (self.engine.session, worker_ids)
        if not self._session_is_held or wanted != self._held:
            self._session_is_held = self.engine.hold_session(worker_ids)
            self._held = wanted

    def note_failure(self, what: str, error: Error) -> None:
        """The database has failed us in this; the next beat finds out whether it answers again."""
        logger.warning("%s: %s", what, str(error).strip())
        self.engine.forget_connection()
        self._unbroken_since = None
        self.is_cut_off = True

    def _note_beat(self, sent_at: float) -> None:
        """A beat was written. If it took long, the database stalled, and everybody's came late."""
        self.is_cut_off = False
        written_at = clock.monotonic()
        good = self.lease.total_seconds() / 2
        if written_at - self._written_at > good or self._unbroken_since is None:
            self._unbroken_since = written_at
        if written_at - sent_at > self._longest_interval_seconds:
            self._beat_at = float("-inf")  # what it wrote is old already: beat again at once
        self._written_at = written_at

    @property
    def may_judge_others(self) -> bool:
        """Whether the silence of other workers, or the end of their session, means their death.

        Not right after the database was away or stalled: then nobody's heartbeat was written, and
        all sessions may have ended. Each needs the time of one lease to be heard again.
        """
        if self._unbroken_since is None:
            return False
        return clock.monotonic() - self._unbroken_since >= self.lease.total_seconds()

    def rescue_dead(self) -> None:
        """Rescue for all, if this process can tell who is dead; errors are only logged."""
        if self._unbroken_since is None:
            return
        try:
            with self.engine.response_timeout():
                if self.may_judge_others:
                    rescue_abandoned(self.engine, now=self.clock.now())
                if self._is_time_to_look_for_the_silent():
                    self._look_for_the_silent()
        except Error as error:
            self.note_failure("Dead workers could not be looked for", error)

    def _look_for_the_silent(self) -> None:
        now, asked_at = self.clock.now(), clock.monotonic()
        # Judged as of the question, and noted as of the answer: however long that takes to come,
        # nobody is taken for dead for it.
        self._silence.note(self.engine.last_heartbeats(), at=clock.monotonic())
        if self.may_judge_others:
            silence, lease = self._silence, self.lease
            rescue_silent(self.engine, silence, lease=lease, now=now, at=asked_at)

    def has_duty(self, worker_ids: Collection[int]) -> bool:
        """Whether what one process does for all is for these workers to do: one is the eldest."""
        if self.is_cut_off:
            return False
        try:
            with self.engine.response_timeout():
                heard_since = self.clock.now() - self.lease
                return self.engine.eldest_worker(heard_since=heard_since) in worker_ids
        except Error as error:
            self.note_failure("The eldest worker could not be looked for", error)
            return False

    def _is_time_to_look_for_the_silent(self) -> bool:
        now = clock.monotonic()
        if now - self._silence_sought_at < self._longest_interval_seconds:
            return False
        self._silence_sought_at = now
        return True
