"""MySQL 8 and MariaDB: select, then update; virtual columns where others have partial indexes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone

from django.db import OperationalError

from django_dbq.engines.base import Engine
from django_dbq.engines.statements import leaving_out
from django_dbq.models import Job

TRANSIENT_ERRORS = {
    1020,  # the record has changed
    1021,  # disk full
    1205,  # lock wait timeout
    1213,  # deadlock
    1290,  # read-only
    1317,  # interrupted
    1969,  # MariaDB's time limit for a statement
    3024,  # MySQL's
}


class MySQLEngine(Engine):
    ready_in_queue = "dbq_ready_queue = %s"
    scheduled_in_queue = "dbq_scheduled_queue = %s"
    held_by_worker = "dbq_holder = %s"
    held_by_nobody = "dbq_holder = 0"
    held_by_somebody = "dbq_holder > 0"
    claim_order = "dbq_rank, created"
    lock_rows = "FOR UPDATE SKIP LOCKED"

    @property
    def is_supported(self) -> bool:
        return bool(self.connection.features.has_select_for_update_skip_locked)

    def now(self) -> datetime:
        with self.connection.cursor() as cursor:
            # Django leaves the session's time zone alone, so NOW() could be anybody's.
            cursor.execute("SELECT UTC_TIMESTAMP(6)")
            answer: datetime = cursor.fetchone()[0]
        return answer.replace(tzinfo=timezone.utc)

    def _lock_best(
        self, queue: str, limit: int, now: datetime, but: Collection[tuple[str, str]]
    ) -> list[Job]:
        others, names = leaving_out(but)
        # The index is named because statistics of a table that empties and fills mislead the
        # planner, and InnoDB locks every row that it looks at.
        statement = (
            f"SELECT {self.columns} FROM {self.table} FORCE INDEX (dbq_ready) "
            f"WHERE {self.ready_in_queue.replace('%s', '%(queue)s')} "
            f"AND (run_after IS NULL OR run_after <= %(now)s){others} "
            f"ORDER BY {self.claim_order} LIMIT %(limit)s {self.lock_rows}"
        )
        parameters = {"queue": queue, "now": self._as_parameter(now), "limit": limit, **names}
        return list(Job.objects.using(self.using).raw(statement, parameters))

    def is_transient(self, error: OperationalError) -> bool:
        return bool(error.args) and error.args[0] in TRANSIENT_ERRORS
