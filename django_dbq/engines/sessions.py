"""Sessions with the database: what their end tells others, and how long to wait for an answer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from django.db import Error
from django.db.backends.signals import connection_created

from django_dbq import clock
from django_dbq.engines.statements import Statements
from django_dbq.models import WorkerProcess
from django_dbq.models.worker import WorkerQuerySet

logger = logging.getLogger(__name__)

# An answer that has not come by then will not come: the other end is gone, or frozen.
CONNECT_TIMEOUT_SECONDS = 5
RESPONSE_TIMEOUT_SECONDS = 8
# Longer than any statement of ours keeps a row; a worker has others to write meanwhile.
LOCK_TIMEOUT_SECONDS = 1


class Sessions(Statements):
    """The verbs by which a supervisor shows that it lives, beside its heartbeats.

    The portable answer is that no database session tells anything, and that one waits for ever.
    """

    waiting_options: dict[str, Any] = {}  # what makes the driver give up waiting

    @property
    def _workers(self) -> WorkerQuerySet:
        return WorkerProcess.objects.using(self.using)

    @property
    def _workers_table(self) -> str:
        return str(self.connection.ops.quote_name(WorkerProcess._meta.db_table))

    # How long to wait

    def limit_waiting(self) -> None:
        """Have this thread's connection give up on a server that is gone without a word.

        Not for connections of tasks: there the project decides. What its OPTIONS say about waiting
        stands here too. A connection pool is left out, because a session in a pool does not end
        when its user does.
        """
        connection = self.connection
        given = connection.settings_dict["OPTIONS"]
        options = {**self.waiting_options, **given}
        options.pop("pool", None)
        if options == given:
            return
        self._end_session(connection)
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": options}

    @contextlib.contextmanager
    def lock_timeout(self) -> Iterator[None]:
        """Within this block, this thread does not wait for long for rows that others have locked.

        The sessions that it begins there wait LOCK_TIMEOUT_SECONDS at most, if they are our own.
        """
        mine = self.connection

        def session_began(*, connection: Any, **_: Any) -> None:
            if connection is mine:  # and not that of a task, in another thread
                self._set_lock_timeout()

        connection_created.connect(session_began)
        self._end_session(mine)
        try:
            yield
        finally:
            connection_created.disconnect(session_began)
            self._end_session(mine)

    def _end_session(self, connection: Any) -> None:
        if not connection.in_atomic_block:  # else the caller's work would be lost with it
            connection.close()

    def _set_lock_timeout(self) -> None:
        """For this session, which has just begun."""

    @contextlib.contextmanager
    def response_timeout(self) -> Iterator[None]:
        """Within this block, an answer that does not come becomes an error like a lost connection.

        For what `limit_waiting` cannot have the driver do. Once in a thread at a time.
        """
        yield

    def has_given_up(self, *, since: float) -> bool:
        """Whether a verb that was called then has failed because no answer came in time."""
        return clock.monotonic() - since >= RESPONSE_TIMEOUT_SECONDS

    # Whether others live

    @property
    def session(self) -> Any:
        """This thread's session with the database: another object after each reconnect."""
        return self.connection.connection

    def hold_session(self, worker_ids: Collection[int]) -> bool:
        """Bind these workers, and no others, to this session: others see at once when it ends.

        How they see it is written to the workers' rows. Returns False where others have heartbeats
        alone to go by: the database has nothing of the kind, a connection pooler stands between,
        or a former session of these workers has not ended yet. Then ask again later.
        """
        ids = sorted(worker_ids)
        try:
            mark = self._session_mark()
            is_held = bool(mark) and self._lock_session(ids)
        except Error as error:
            if not self.connection.is_usable():
                raise
            logger.debug("No lock can be had for this session: %s", str(error).strip())
            is_held = False
        wanted = mark if is_held else ""
        self._workers.filter(pk__in=ids).exclude(session=wanted).update(session=wanted)
        return is_held

    def _session_mark(self) -> str:
        """How others can tell whether this session goes on; empty: they cannot."""
        return ""

    def _lock_session(self, worker_ids: list[int]) -> bool:
        """Let the session hold what ends with it, for these workers alone; whether it does."""
        return True

    def abandoned_workers(self, *, unseen_since: datetime) -> list[int]:
        """Workers whose session has ended, and that have sent no heartbeat since then."""
        return []
