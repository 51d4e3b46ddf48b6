"""PostgreSQL: one statement a claim, rivals' rows stepped over."""

from __future__ import annotations

from datetime import datetime

from django.db import OperationalError

from django_dbq.engines.returning import ReturningEngine

DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE = "40P01", "55P03"


class PostgreSQLEngine(ReturningEngine):
    lock_rows = "FOR UPDATE SKIP LOCKED"
    # MATERIALIZED fixes the batch: planned into the update, the choice could be made again for each
    # row and lock more of them than the limit.
    claim_template = (
        "WITH best AS MATERIALIZED ({best}) UPDATE {table} SET {changes} "
        "FROM best WHERE id = best_id RETURNING {columns}"
    )

    def now(self) -> datetime:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")  # now() would be the transaction's start
            answer: datetime = cursor.fetchone()[0]
        return answer

    def is_contention(self, error: OperationalError) -> bool:
        cause = error.__cause__
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        return state in (DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE)
