"""The database connections that tasks use: usable before a task, and clean after it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Set
from typing import Any

from django.db import Error, close_old_connections, connections
from django.db.backends.signals import connection_created

from django_dbq import clock
from django_dbq.exceptions import TransactionLeftOpen

logger = logging.getLogger(__name__)

IDLE, IN_TRANSACTION = 0, (2, 3)  # of libpq: idle; in a transaction, in a broken one

CHECK_INTERVAL_SECONDS = 1.0  # what a request is to a web process; for each job it would cost more


class TaskConnections:
    """Of one thread: closes what is too old or broken, as Django does around a request."""

    def __init__(self) -> None:
        self._checked_at = 0.0

    def refresh(self) -> None:
        """Drop connections that have outlived CONN_MAX_AGE or that an error has broken."""
        now = clock.monotonic()
        if now - self._checked_at >= CHECK_INTERVAL_SECONDS:
            close_old_connections()
            self._checked_at = now

    def refresh_soon(self) -> None:
        """A task failed: its connection may be the reason, so look at it before the next one."""
        self._checked_at = 0.0


def close_broken_connections() -> None:
    """Close the connections of this thread on which errors have occurred and which are of no use.

    Others stay: of several tasks that share them, one may be in the middle of reading.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and connection.errors_occurred:
            if connection.is_usable():
                connection.errors_occurred = False
            else:
                _discard(connection)


def close_all_connections() -> None:
    """Close every connection of this thread, and the pools that Django 5.1+ may keep."""
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        close_pool = getattr(connection, "close_pool", None)
        if close_pool:
            close_pool()


class _Opened(threading.local):
    """The connections that this thread has opened since it was first asked for them.

    Django's own list is slow to walk, and it is walked for each job, most of which open none.
    """

    def __init__(self) -> None:
        self.connections: list[Any] = list(connections.all(initialized_only=True))

    def note(self, connection: Any, **other: Any) -> None:
        if all(connection is not known for known in self.connections):
            self.connections.append(connection)


_opened = _Opened()
connection_created.connect(_opened.note)


def opened_here() -> list[Any]:
    """The connections that this thread has opened and will open."""
    return _opened.connections


def seem_in_transaction(opened: list[Any]) -> bool:
    """Whether another thread, whose connections these are, is inside a transaction at the moment.

    That may be right. Who wants to be sure has to ask on that thread, between two calls; also when
    a connection cannot be asked from here, because it is closed there at this moment.
    """
    try:
        return any(_is_in_transaction(each) for each in tuple(opened))
    except Exception:
        return True


def open_transactions() -> set[str]:
    """The aliases on which this thread is inside a transaction."""
    opened = _opened.connections
    return {each.alias for each in opened if _is_in_transaction(each)} if opened else set()


def roll_back_all_but(expected: Set[str], *, quietly: bool = False) -> None:
    """Roll back what was left open; raises TransactionLeftOpen if there was any, or `quietly`."""
    left_open = sorted(open_transactions() - expected)
    for alias in left_open:
        _discard(connections[alias])
    if left_open and not quietly:
        raise TransactionLeftOpen(left_open[0])


def discard_all_but(expected: Set[str]) -> None:
    """Close the connections that hold nothing of the caller's: they may be out of step."""
    for connection in connections.all(initialized_only=True):
        if connection.alias not in expected and connection.connection is not None:
            _discard(connection)


def _is_in_transaction(connection: Any) -> bool:
    if connection.connection is None and not connection.in_atomic_block:
        return False
    if not connection.settings_dict["AUTOCOMMIT"]:
        return bool(connection.in_atomic_block)
    by_hand = not connection.autocommit or _has_begun_unnoticed(connection.connection)
    return bool(connection.in_atomic_block or by_hand)


def _has_begun_unnoticed(driver_connection: Any) -> bool:
    """Whether somebody executed BEGIN; MySQL's drivers cannot tell."""
    if getattr(driver_connection, "in_transaction", False):  # sqlite3
        return True
    status = getattr(
        getattr(driver_connection, "info", None), "transaction_status", IDLE
    )  # psycopg
    return status in IN_TRANSACTION


def _discard(connection: Any) -> None:
    """Close it, which rolls back; Django would keep a connection that it believes in a block."""
    connection.in_atomic_block = connection.closed_in_transaction = False
    connection.run_on_commit = []
    try:
        connection.close()
    except Error:
        logger.debug("A connection that a task left in a transaction was broken already.")
        connection.connection = None
