"""PostgreSQL: an idle worker parks, and sleeps until it is notified.

Parked is who says so in its own row, so that those who enqueue know whether anybody needs waking:
NOTIFY takes a lock of the whole server at each commit, and at load nobody is parked.

See docs/decisions/0009-wake-ups.md for the races, and for where the numbers are from.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.postgresql.psycopg_any import is_psycopg3

from django_dbq import clock
from django_dbq import settings as dbq_settings
from django_dbq.engines.doorbells import Doorbell, Doorbells
from django_dbq.rules.queues import EVERY_QUEUE

CHANNEL = "django_dbq_"  # and the worker's id
# Commits this transaction without waiting for the disk: who is parked, and who is woken, nobody
# needs to know after a crash of the server.
UNHURRIED = "set_config('synchronous_commit', 'off', true)"

FIRST_PAUSE_SECONDS = 0.005
PARK_AFTER_SECONDS = 0.02
# Longer than who enqueues remembers (engines/ringing.py) that it has woken somebody, or that nobody
# was parked.
SETTLED_SECONDS = 0.006
FORGOTTEN_SECONDS = 0.26
# For what rings no bell: jobs of 3.3 processes and raw SQL, a `save()` that sets a job back to
# READY, and `orphaned_jobs --requeue`.
FALLBACK_SECONDS = 0.5
MOST_RINGS = 20  # of one who leaves and serves every queue; what waits in others, others will find


class Notifications(Doorbells):
    """The verbs about notifications."""

    @property
    def has_its_own_session(self) -> bool:
        """Whether no pooler stands between, whose transaction mode sends each statement elsewhere.

        A lock would stay with the server process that took it, and notifications come to nobody.
        """
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        return bool(pid == self.session.info.backend_pid)  # a pooler gives out numbers of its own

    def listen(self, worker_id: int, hear: Callable[[object], None]) -> None:
        """Have this session notified for a worker. What comes during a statement calls `hear`."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}{int(worker_id)}")
        if is_psycopg3:
            self.session.add_notify_handler(hear)

    def collect_notifications(self) -> bool:
        """Take what this session was notified of from its socket, without waiting; whether any."""
        session = self.session
        with self.connection.wrap_database_errors:
            if not is_psycopg3:
                session.poll()
                came = bool(session.notifies)
                session.notifies.clear()
                return came
            session.pgconn.consume_input()
            came = False
            while session.pgconn.notifies():
                came = True
            return came

    def park(self, worker_id: int) -> None:
        """Make known that this worker sleeps until it is woken."""
        self._set_parked(worker_id, "clock_timestamp()")

    def unpark(self, worker_id: int) -> None:
        """Make known that it is awake."""
        self._set_parked(worker_id, "NULL")

    def _set_parked(self, worker_id: int, moment: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self._workers_table} SET parked_at = {moment} "
                f"FROM {UNHURRIED} AS unhurried WHERE id = %s",
                [worker_id],
            )

    def wake_parked(self, queue: str, *, limit: int) -> bool:
        session = self.session
        if session is None:
            return False
        lease_seconds = dbq_settings.current().lease.total_seconds()
        # Not by a cursor of Django's: it is no query of the caller's, whose log and whose count of
        # queries it does not belong to.
        with self.connection.wrap_database_errors, session.cursor() as cursor:
            cursor.execute(
                f"SELECT pg_notify('{CHANNEL}' || id, ''), {UNHURRIED} FROM ("
                f"SELECT id FROM {self._workers_table} WHERE parked_at IS NOT NULL "
                f"AND queues ?| ARRAY[%s, '{EVERY_QUEUE}'] "
                f"AND last_seen > clock_timestamp() - interval '{lease_seconds:f} seconds' "
                f"ORDER BY random() LIMIT {int(limit)}) AS parked",
                [queue],
            )
            return bool(cursor.rowcount > 0)


class NotificationDoorbell(Doorbell):
    """Looks a few times at doubling pauses, then parks. Behind a pooler, it only looks."""

    engine: Notifications

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._session: Any = None  # that listens, or that a pooler lent us
        self._can_listen = True
        self._is_parked = self._has_heard = False
        self._looks_owed: list[float] = []

    @property
    def socket(self) -> int | None:
        if not self._is_parked or self.engine.session is not self._session:
            return None
        return int(self._session.fileno())

    def pause_seconds(self) -> float:
        if self.engine.session is not self._session or self._session is None:
            self._meet_session()
        if not self._can_listen:
            return super().pause_seconds()
        if not self._is_parked:
            quiet_seconds = self._quiet_seconds
            if max(quiet_seconds, self._rest_seconds) < PARK_AFTER_SECONDS:
                return self._until_due(max(quiet_seconds, FIRST_PAUSE_SECONDS))
            self._park()
            return 0.0  # a job that came before others could see us here has rung no bell
        if self._collect():
            return 0.0
        now = clock.monotonic()
        owed = min(self._looks_owed, default=now + FALLBACK_SECONDS)
        pause = self._until_due(min(owed - now, FALLBACK_SECONDS))
        return max(pause, self._rest_seconds)

    def rang(self) -> bool:
        if self._can_listen and self._is_parked and self._collect():
            self._has_heard = False
            self._owe_look(SETTLED_SECONDS)
            return True
        return self._rest_seconds <= 0 and self.look()

    def look(self) -> bool:
        began_at = clock.monotonic()
        found = super().look()
        self._looks_owed = [at for at in self._looks_owed if at > began_at]
        return found

    def _owe_look(self, seconds: float) -> None:
        """Whatever happens until then: look once more when so much time has passed."""
        self._looks_owed.append(clock.monotonic() + seconds)

    def leave(self) -> None:
        if not self._is_parked:
            return
        with self.engine.response_timeout():
            self.engine.unpark(self.worker_id)
        self._is_parked = False  # now that it is written: else the row would stay parked
        if self.look():  # rings may have come to us that others should have heard
            with self.engine.response_timeout():
                for queue in self._queues_with_jobs():
                    self.engine.wake_parked(queue, limit=1)

    def _queues_with_jobs(self) -> Sequence[str]:
        """Those of its queues for which others may have to be woken."""
        if EVERY_QUEUE not in self.queues:
            return self.queues
        best = heapq.nsmallest(MOST_RINGS, self.engine.heads(now=self.now()))
        return [head.queue for head in best]

    def _park(self) -> None:
        with self.engine.response_timeout():
            self.engine.park(self.worker_id)
        self._is_parked = True
        # The last is the one that is needed; those before it find sooner what came soon.
        for seconds in (FORGOTTEN_SECONDS / 4, FORGOTTEN_SECONDS / 2, FORGOTTEN_SECONDS):
            self._owe_look(seconds)

    def _meet_session(self) -> None:
        """Listen in a session that is new to us; what was sent to the former one is lost."""
        with self.engine.response_timeout():
            self._can_listen = self.engine.has_its_own_session
            if self._can_listen:
                self.engine.listen(self.worker_id, self._hear)
            if self._is_parked:  # perhaps not: an answer may have been lost
                self.engine.park(self.worker_id)
            self._session = self.engine.session
        self._owe_look(0.0)

    def _hear(self, notification: object = None) -> None:
        self._has_heard = True

    def _collect(self) -> bool:
        """Whether a notification has come, during an earlier statement or just now."""
        if self.engine.collect_notifications():
            self._has_heard = True
        return self._has_heard
