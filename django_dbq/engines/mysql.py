"""MySQL 8 and MariaDB: select, then update; virtual columns where others have partial indexes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from django.db import DatabaseError

from django_dbq.engines.base import Engine
from django_dbq.engines.claiming import STARTED, Claim
from django_dbq.engines.rows import fetched
from django_dbq.engines.sessions import (
    CONNECT_TIMEOUT_SECONDS,
    LOCK_TIMEOUT_SECONDS,
    RESPONSE_TIMEOUT_SECONDS,
)
from django_dbq.engines.statements import is_held_by, leaving_out
from django_dbq.models import Job
from django_dbq.rules.retention import Pace
from django_dbq.rules.states import State

LOCK_WAIT_TIMEOUT = 1205
TRANSIENT_ERRORS = {
    1020,  # the record has changed
    1021,  # disk full
    LOCK_WAIT_TIMEOUT,
    1213,  # deadlock
    1290,  # read-only
    1317,  # interrupted
    1969,  # MariaDB's time limit for a statement
    3024,  # MySQL's
}

# Names of locks are the server's, not the database's, and have at most 64 characters.
LOCK_NAME = "CONCAT('dbq:', LEFT(SHA2(DATABASE(), 256), 32), ':', {id})"
# With the server's name: in a cluster each server has locks of its own.
SESSION_MARK = "CONCAT('GET_LOCK at ', @@hostname, ':', @@port)"

# The earlier one has the greater last part.
SOONER_AND_LATER = (
    "01900000-0000-7000-8000-000000000002",
    "01900000-0001-7000-8000-000000000001",
)


class MySQLEngine(Engine):
    """Names the index of each question, because its planner is misled by old statistics."""

    looks_along = True
    ready = "dbq_ready_queue IS NOT NULL"
    ready_queue = "dbq_ready_queue"
    ready_in_queue = "dbq_ready_queue = %(queue)s"
    scheduled = "dbq_scheduled_queue IS NOT NULL"
    scheduled_queue = "dbq_scheduled_queue"
    scheduled_in_queue = "dbq_scheduled_queue = %s"
    held_by_worker = "dbq_holder = %s"
    held_by_nobody = "dbq_holder = 0"
    held_by_somebody = "dbq_holder > 0"
    claim_order = "dbq_rank, created"
    lock_rows = "FOR UPDATE SKIP LOCKED"
    ready_rows = "FORCE INDEX (dbq_ready)"
    waiting_options = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "read_timeout": RESPONSE_TIMEOUT_SECONDS,
        "write_timeout": RESPONSE_TIMEOUT_SECONDS,
    }

    # What is committed beside a page waits for all that the page has written to the log.
    prune_pace = Pace(page_seconds=0.03, share=0.2)

    @property
    def is_supported(self) -> bool:
        return bool(self.connection.features.has_select_for_update_skip_locked)

    def _time(self) -> datetime:
        with self.connection.cursor() as cursor:
            # Django leaves the session's time zone alone, so NOW() could be anybody's.
            cursor.execute("SELECT UTC_TIMESTAMP(6)")
            answer: datetime = cursor.fetchone()[0]
        return answer.replace(tzinfo=timezone.utc)

    def _lock_best(
        self, claim: Claim, queue: str, limit: int, begins: Mapping[int, datetime]
    ) -> list[Job]:
        if not begins:
            return self._lock_best_of(claim, queue, limit)
        jobs: list[Job] = []
        for along in begins.items():
            if len(jobs) < limit:
                jobs += self._lock_best_of(claim, queue, limit - len(jobs), along)
        return jobs

    def _lock_best_of(
        self, claim: Claim, queue: str, limit: int, along: tuple[int, datetime] | None = None
    ) -> list[Job]:
        """`along`: of this priority alone, and from this `created` on."""
        others, names = leaving_out(claim.but, claim.only)
        parameters: dict[str, Any] = {
            **names,
            "queue": queue,
            "now": self._as_parameter(claim.now),
            "limit": limit,
        }
        if along:
            priority, begin = along
            others += " AND dbq_rank = %(rank)s AND created >= %(begin)s"
            parameters |= {"rank": -priority, "begin": self._as_parameter(begin)}
        # The index is named because statistics of a table that empties and fills mislead the
        # planner, and InnoDB locks every row that it looks at.
        statement = (
            f"SELECT {fetched()} FROM {self.table} {self.ready_rows} "
            f"WHERE {self.ready_in_queue} "
            f"AND (run_after IS NULL OR run_after <= %(now)s){others} "
            f"ORDER BY {self.claim_order} LIMIT %(limit)s {self.lock_rows}"
        )
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows = cursor.fetchall()
        return self._claimed_rows.jobs(rows, worker_id=claim.worker_id, now=claim.now)

    def _mark_claimed(self, jobs: list[Job], claim: Claim) -> None:
        moment = self._as_parameter(claim.now)
        self._update(
            f"{STARTED.format(now='%s')}, state = '{State.PROCESSING.value}', token = token + 1, "
            "attempts = attempts + 1, worker_id = %s, last_attempted_at = %s, finished_at = NULL, "
            "modified = %s",
            [moment, claim.worker_id, moment, moment],
            jobs,
        )
        for job in jobs:
            job.token += 1
            job.attempts += 1

    def _update_at_once(self, values: dict[str, Any], jobs: Sequence[Job]) -> int:
        fence = f" AND token = {jobs[0].token} AND {is_held_by(jobs[0].worker_id)}"
        return self._update(*self._assignments(values), jobs, fence)

    def _update(
        self, changes: str, parameters: list[Any], jobs: Iterable[Job], condition: str = ""
    ) -> int:
        """Update the rows of these jobs; how many there were.

        The ids are written into the statement: that they are UUIDs is sure, and to have the driver
        quote hundreds of them takes longer than the update does.
        """
        is_native = getattr(self.connection.features, "has_native_uuid_field", False)
        ids = ", ".join(f"'{job.pk}'" if is_native else f"'{job.pk.hex}'" for job in jobs)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.table} SET {changes} WHERE id IN ({ids}){condition}", parameters
            )
            return int(cursor.rowcount)

    @property
    def ids_follow_time(self) -> bool:
        # MariaDB's own type for UUIDs was made for those of version 1: older servers sort all by
        # their last part. Where that type is not used, ids are texts.
        if not getattr(self.connection.features, "has_native_uuid_field", False):
            return True
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT CAST(%s AS uuid) < CAST(%s AS uuid)", SOONER_AND_LATER)
            return bool(cursor.fetchone()[0])

    # Sessions

    def _set_lock_timeout(self) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute("SET innodb_lock_wait_timeout = %s", [LOCK_TIMEOUT_SECONDS])

    def _session_mark(self) -> str:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT CONNECTION_ID(), {SESSION_MARK}")
            number, mark = cursor.fetchone()
        # A proxy that shares sessions among its clients gives out numbers of its own.
        return str(mark) if number == self.session.thread_id() else ""

    def _lock_session(self, worker_ids: list[int]) -> bool:
        names = [LOCK_NAME.format(id=int(worker_id)) for worker_id in worker_ids]
        locks = ", ".join(["RELEASE_ALL_LOCKS()", *(f"GET_LOCK({name}, 0)" for name in names)])
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {locks}")
            _, *taken = cursor.fetchone()
        return all(taken)

    def abandoned_workers(self, *, unseen_since: datetime) -> list[int]:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id FROM {self._workers_table} WHERE last_seen < %s "
                f"AND session = {SESSION_MARK} AND IS_FREE_LOCK({LOCK_NAME.format(id='id')}) = 1",
                [self._as_parameter(unseen_since)],
            )
            return [row[0] for row in cursor.fetchall()]

    def is_transient(self, error: DatabaseError) -> bool:
        return bool(error.args) and error.args[0] in TRANSIENT_ERRORS

    def is_lock_timeout(self, error: BaseException) -> bool:
        return error.args[:1] == (LOCK_WAIT_TIMEOUT,)
