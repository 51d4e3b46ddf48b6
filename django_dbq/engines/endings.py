"""PostgreSQL: who waits for a job is notified of its end.

Who waits holds two advisory locks, shared: one that says that somebody waits at all, and one of the
job's. A worker that has written outcomes down looks at them at most four times a second, and the
first one alone as long as nobody waits. So it notifies of no job but those that are waited for.

See docs/decisions/0012-waiting-for-a-result.md.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import Error
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from django_dbq import clock
from django_dbq.engines.advisory_locks import HELD_KEYS, as_int4
from django_dbq.engines.awaiting import Awaiting, Teller, Waiter
from django_dbq.engines.notifications import UNHURRIED, Notifications

logger = logging.getLogger(__name__)

# Of our advisory locks of this kind: the first of their two numbers. The second is the job's key.
WAITING_CLASS = int.from_bytes(b"\0dbw", "big")
SOMEBODY = 0
CHANNEL = "django_dbq_end_"  # and the job's key

KNOWN_SECONDS = 0.25  # for which a worker remembers who waits
# A shorter pause ends sooner than others could be told of it, and most jobs have ended by then.
WORTH_IT_SECONDS = 0.02

Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Endings(Notifications, Awaiting):
    """The verbs of those who wait, and of those who tell them."""

    def waiter(self, job_id: UUID) -> Waiter:
        return NotifiedWaiter(self, job_id)

    def teller(self) -> Teller:
        return NotifyingTeller(self)

    def wait_visibly(self, job_id: UUID) -> None:
        """Have this session notified of the job's end."""
        key = key_of(job_id)
        with self.connection.cursor() as cursor:
            cursor.execute(f"LISTEN {channel_of(key)}")
            cursor.execute(
                "SELECT pg_advisory_lock_shared(%s, %s), pg_advisory_lock_shared(%s, %s)",
                [WAITING_CLASS, SOMEBODY, WAITING_CLASS, key],
            )

    def wait_no_more(self, job_id: UUID) -> None:
        """Leave the session as it was."""
        key = key_of(job_id)
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_unlock_shared(%s, %s), pg_advisory_unlock_shared(%s, %s)",
                [WAITING_CLASS, SOMEBODY, WAITING_CLASS, key],
            )
            cursor.execute(f"UNLISTEN {channel_of(key)}")

    def awaited_keys(self) -> set[int]:
        """The keys of the jobs that somebody waits for."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [WAITING_CLASS, SOMEBODY])
            if cursor.fetchone() == (True,):
                return set()  # nobody holds it: nobody waits, and that was all there is to ask
            cursor.execute(HELD_KEYS, [WAITING_CLASS])
            return {as_int4(key) for (key,) in cursor.fetchall()} - {SOMEBODY}

    def notify_ended(self, keys: Collection[int]) -> None:
        """Wake who waits for the jobs of these keys."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT pg_notify(channel, ''), {UNHURRIED} FROM unnest(%s::text[]) AS channel",
                [[channel_of(key) for key in keys]],
            )


class NotifyingTeller(Teller):
    """Remembers for a quarter of a second who waits; who comes in between looks often enough."""

    engine: Endings

    def __init__(self, engine: Endings) -> None:
        super().__init__(engine)
        self._awaited: set[int] = set()
        self._known_until = float("-inf")

    def tell(self, ended: Collection[UUID]) -> None:
        if not ended:
            return
        try:
            now = clock.monotonic()
            if now >= self._known_until:
                self._known_until = now + KNOWN_SECONDS
                self._awaited = self.engine.awaited_keys()
            keys = self._awaited and self._awaited.intersection(map(key_of, ended))
            if keys:
                self.engine.notify_ended(keys)
        except Error as error:  # it is written down; who waits will see it
            self._awaited = set()
            logger.debug("Nobody could be told of an end: %s", str(error).strip())


class NotifiedWaiter(Waiter):
    """Sleeps on the session's socket. Behind a pooler it only looks."""

    engine: Endings

    def __init__(self, engine: Endings, job_id: UUID) -> None:
        super().__init__(engine, job_id)
        self._session: Any = None  # that listens, or that a pooler lent us
        self._can_listen = self._has_heard = False
        self._channel = channel_of(key_of(job_id))
        self._known = 0  # of the notifications that psycopg2 keeps in a list

    def __exit__(self, *exception: object) -> None:
        session = self._session
        if session is None or not self._can_listen:
            return
        if self.engine.session is session:
            with contextlib.suppress(Error):  # of a session that is gone, nothing is left
                self.engine.wait_no_more(self.job_id)
        if is_psycopg3:
            session.remove_notify_handler(self._hear)
        else:
            others = [each for each in session.notifies if each.channel != self._channel]
            session.notifies[:] = others

    def pause(self, seconds: float) -> None:
        if seconds < WORTH_IT_SECONDS:
            super().pause(seconds)
        elif self._session is None or self.engine.session is not self._session:
            self._meet_session()  # and then look: it may have ended before others could see us
        elif not self._can_listen:
            super().pause(seconds)
        elif not self._was_notified():
            with Selector() as selector:
                # What has come is read, and heard, by the look that follows.
                selector.register(self._session.fileno(), selectors.EVENT_READ)
                selector.select(seconds)

    def _meet_session(self) -> None:
        self._can_listen = self.engine.has_its_own_session
        self._session = self.engine.session
        if self._can_listen:
            if is_psycopg3:
                self._session.add_notify_handler(self._hear)
            self.engine.wait_visibly(self.job_id)

    def _hear(self, notification: object) -> None:
        self._has_heard = True

    def _was_notified(self) -> bool:
        """Whether a notification has come with the answer to a look."""
        if is_psycopg3:
            has_heard, self._has_heard = self._has_heard, False
            return has_heard
        known = self._known
        self._known = sum(each.channel == self._channel for each in self._session.notifies)
        return self._known != known


def key_of(job_id: UUID) -> int:
    """32 bits of the id, those that are random. Who is woken for another's job sleeps on."""
    return int.from_bytes(job_id.bytes[-4:], "big", signed=True) or 1


def channel_of(key: int) -> str:
    return f"{CHANNEL}{key & 0xFFFFFFFF:08x}"
