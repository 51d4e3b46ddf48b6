"""PostgreSQL: one statement a claim, rivals' rows stepped over."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from django.db import DatabaseError
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from django_dbq import clock
from django_dbq.durations import FIRST_YEAR, LAST_YEAR
from django_dbq.engines.advisory_locks import HELD_KEYS, as_int4
from django_dbq.engines.copying import copied
from django_dbq.engines.endings import Endings
from django_dbq.engines.inserting import SAME_IN_ALL, SET_FOR_EACH, Run
from django_dbq.engines.notifications import NotificationDoorbell
from django_dbq.engines.queues import Walk
from django_dbq.engines.returning import ReturningEngine
from django_dbq.engines.sessions import (
    CONNECT_TIMEOUT_SECONDS,
    LOCK_TIMEOUT_SECONDS,
    RESPONSE_TIMEOUT_SECONDS,
)
from django_dbq.engines.statements import is_held_by
from django_dbq.models import Job

# Classes of SQLSTATE: rolled back for a rival, out of resources, not in the right state (a lock
# that does not come), stopped by a person or a time limit; and a code, a server that is read-only.
TRANSIENT_CLASSES, READ_ONLY = ("40", "53", "55", "57"), "25006"
LOCK_NOT_AVAILABLE = "55P03"

# Of our advisory locks: the first of their two numbers, so that they meet no others. The second is
# the worker's id.
LOCK_CLASS = int.from_bytes(b"\0dbq", "big")


# SQL may store times that Python does not have, as 'infinity'; who reads one fails, and so would
# all claims of a queue, for ever. The name leaves `run_after` in an ORDER BY to the column.
FIRST, LAST = f"'{FIRST_YEAR:04}-01-01 00:00Z'", f"'{LAST_YEAR}-12-31 00:00Z'"
READABLE = (
    f"CASE WHEN run_after < {FIRST} THEN {FIRST} WHEN run_after > {LAST} THEN {LAST} "
    "ELSE run_after END AS readable"
)


class PostgreSQLEngine(Endings, ReturningEngine):
    """Claims with one statement, finds by primary key what it writes, inserts by COPY."""

    bell = NotificationDoorbell
    soonest_run_after = READABLE
    lock_rows = "FOR UPDATE SKIP LOCKED"
    # MATERIALIZED fixes the batch: planned into the update, the choice could be made again for each
    # row and lock more of them than the limit. As an array, because a join is planned as a scan of
    # the whole table as long as that has less than some 100,000 rows.
    claim_template = (
        "WITH best AS MATERIALIZED ({best}) UPDATE {table} SET {changes} "
        "WHERE id = ANY(ARRAY(SELECT best_id FROM best)) RETURNING {columns}"
    )
    looks_along = True
    best_along = (
        "SELECT best_id FROM unnest(%(priorities)s::smallint[], %(begins)s::timestamptz[]) "
        "AS along(priority, begins) CROSS JOIN LATERAL ({best}) AS found LIMIT %(limit)s"
    )
    fetched_as = {
        "workspace": "workspace::text",
        "run_after": READABLE,
        # Ten times as fast as what Django has psycopg make of a timestamp.
        "created": "(EXTRACT(EPOCH FROM created) * 1000000)::bigint",
    }
    # For a network that swallows packets; the kernel answers for a frozen process, and then
    # `response_timeout` is what helps.
    waiting_options = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "keepalives": 1,
        "keepalives_idle": 3,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": RESPONSE_TIMEOUT_SECONDS * 1000,
    }

    inserted_at_once = 5_000

    def _time(self) -> datetime:
        with self.connection.cursor() as cursor:
            # Not now(), the transaction's start; and UTC, whatever USE_TZ makes of the session.
            cursor.execute("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
            answer: datetime = cursor.fetchone()[0]
        return answer.replace(tzinfo=timezone.utc)

    def _first_rows(
        self, walk: Walk, columns: str, parameters: dict[str, Any]
    ) -> list[tuple[Any, ...]]:
        wanted = f"{walk.queue} AS queue, {columns}"
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"WITH RECURSIVE firsts AS (({walk.step(wanted)}) UNION ALL SELECT next.* "
                "FROM firsts CROSS JOIN LATERAL "
                f"({walk.step(wanted, f' AND {walk.queue} > firsts.queue')}) AS next) "
                "SELECT * FROM firsts",
                parameters,
            )
            return list(cursor.fetchall())

    def _is_one_statement(self, alike: object) -> bool:
        return True

    def _update_held(
        self, values: dict[str, Any], jobs: Sequence[Job], texts: Mapping[str, Sequence[str]]
    ) -> int:
        # By `ANY` of what no planner can count: then the rows are found by their primary key,
        # whatever the statistics say.
        columns, parameters = self._assignments(values)
        ids: Any = "{" + ",".join([job.pk.hex for job in jobs]) + "}"  # dumped faster than a list
        tokens: Any = [job.token for job in jobs]
        if not texts and len(set(tokens)) == 1:
            rows, which = "", "token = %s"
            parameters += [ids, tokens[0]]
        else:
            given, arrays = {"id": "uuid", "token": "integer"}, [ids, tokens]
            for column, own in texts.items():
                columns += f", {column} = given.{column}::jsonb"
                given[column] = "text"
                arrays.append(list(own))
            unnested = ", ".join(f"%s::{kind}[]" for kind in given.values())
            rows = f"FROM unnest({unnested}) AS given({', '.join(given)})"
            which = "job.id = given.id AND job.token = given.token"
            parameters += [*arrays, ids]
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.table} AS job SET {columns} {rows} "
                f"WHERE job.id = ANY((SELECT %s::uuid[])::uuid[]) AND {which} "
                f"AND {is_held_by(jobs[0].worker_id)}",
                parameters,
            )
            return int(cursor.rowcount)

    def _insert_rows(self, runs: Sequence[Run], largest: int | None) -> None:
        columns = ", ".join((*SET_FOR_EACH, *SAME_IN_ALL))
        statement = f"COPY {self.table} ({columns}) FROM STDIN (FORMAT binary)"
        parts = copied(runs, largest)
        connection = self.connection
        with connection.wrap_database_errors, connection.cursor() as cursor:
            if not is_psycopg3:
                cursor.copy_expert(statement, io.BytesIO(b"".join(parts)))
                return
            with cursor.copy(statement) as copy:
                for part in parts:  # the server takes one in while the next is made
                    copy.write(part)

    # Sessions

    @contextlib.contextmanager
    def response_timeout(self) -> Iterator[None]:
        """By a timer, and so only on the main thread; and only with psycopg 3, because psycopg2
        lets no signal handler run while it waits."""
        try:
            before = signal.signal(signal.SIGALRM, lambda *_: self._cut_off())
        except (ValueError, AttributeError):  # another thread; Windows
            yield
            return
        # Again and again: after the first cut the next connection may hang as well.
        signal.setitimer(signal.ITIMER_REAL, RESPONSE_TIMEOUT_SECONDS, RESPONSE_TIMEOUT_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)

    _cut_off_at = float("-inf")

    def _cut_off(self) -> None:
        """Shut the connection's socket down, which ends the wait for an answer."""
        self._cut_off_at = clock.monotonic()
        with contextlib.suppress(Exception):  # it is not open yet, or closed already
            descriptor = os.dup(self.session.fileno())
            with socket.socket(fileno=descriptor) as server:
                server.shutdown(socket.SHUT_RDWR)

    def has_given_up(self, *, since: float) -> bool:
        return self._cut_off_at >= since

    def _set_lock_timeout(self) -> None:
        # Not behind a pooler, which would give the setting to others along with the session.
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, FALSE) FROM pg_settings "
                "WHERE name = 'lock_timeout' AND NOT setting::int BETWEEN 1 AND %s "
                "AND pg_backend_pid() = %s",
                [
                    f"{LOCK_TIMEOUT_SECONDS}s",
                    LOCK_TIMEOUT_SECONDS * 1000,
                    self.session.info.backend_pid,
                ],
            )

    def _session_mark(self) -> str:
        return "advisory lock" if self.has_its_own_session else ""

    def _lock_session(self, worker_ids: list[int]) -> bool:
        ids = [as_int4(worker_id) for worker_id in worker_ids]
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")  # a lock is counted each time
            cursor.execute(
                "SELECT bool_and(pg_try_advisory_lock(%s, id)) FROM unnest(%s::int[]) AS id",
                [LOCK_CLASS, ids],
            )
            (all_taken,) = cursor.fetchone()
        return all_taken is not False

    def abandoned_workers(self, *, unseen_since: datetime) -> list[int]:
        # MATERIALIZED, so that nobody looks at the server's locks as long as all are heard.
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"WITH unseen AS MATERIALIZED (SELECT id FROM {self._workers_table} "
                "WHERE session = 'advisory lock' AND last_seen < %s) "
                f"SELECT id FROM unseen WHERE id %% {2**32} NOT IN ({HELD_KEYS})",
                [self._as_parameter(unseen_since), LOCK_CLASS],
            )
            return [row[0] for row in cursor.fetchall()]

    def is_transient(self, error: DatabaseError) -> bool:
        state = _state_of(error)
        return state[:2] in TRANSIENT_CLASSES or state == READ_ONLY

    def is_lock_timeout(self, error: BaseException) -> bool:
        return _state_of(error) == LOCK_NOT_AVAILABLE


def _state_of(error: BaseException) -> str:
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""
