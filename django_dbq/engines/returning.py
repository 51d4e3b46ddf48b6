"""Claim and promote in one statement each, for the databases whose UPDATE returns rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from django_dbq.engines.base import Engine
from django_dbq.engines.claiming import PROMOTED_AT_ONCE, STARTED, Claim
from django_dbq.engines.rows import fetched
from django_dbq.engines.statements import leaving_out
from django_dbq.models import Job
from django_dbq.rules.states import State


class ReturningEngine(Engine):
    """PostgreSQL and SQLite differ in how the best rows are chosen, and in nothing else here."""

    claim_template: str  # around {best}, {table}, {changes} and {columns}
    fetched_as: ClassVar[dict[str, str]] = {}  # where a column itself takes long to read
    best_along = "{best}"  # around {best}, where it looks along

    def _claim_best(
        self, claim: Claim, queue: str, limit: int, begins: Mapping[int, datetime]
    ) -> list[Job]:
        others, names = leaving_out(claim.but, claim.only)
        parameters = {
            **names,
            "queue": queue,
            "limit": limit,
            "worker_id": claim.worker_id,
            "now": self._as_parameter(claim.now),
        }
        if begins:
            parameters["priorities"], parameters["begins"] = list(begins), list(begins.values())
        with self.connection.cursor() as cursor:
            cursor.execute(self.claim_statement(others, is_along=bool(begins)), parameters)
            rows = cursor.fetchall()
        claimed = self._claimed_rows.jobs(rows, worker_id=claim.worker_id, now=claim.now)
        return sorted(claimed, key=lambda job: (-job.priority, job.created))  # RETURNING has none

    def claim_statement(self, others: str = "", *, is_along: bool = False) -> str:
        """Takes the queue, the limit, the worker and the time; returns the claimed rows.

        `is_along`: and from which `created` on to look, by priority.
        """
        along = " AND priority = along.priority AND created >= along.begins" if is_along else ""
        best = (
            f"SELECT id AS best_id FROM {self.table} WHERE {self.ready_in_queue}{along} "
            f"AND (run_after IS NULL OR run_after <= %(now)s){others} "
            f"ORDER BY {self.claim_order} LIMIT %(limit)s {self.lock_rows}"
        )
        return self._claim_frame.format(
            best=self.best_along.format(best=best) if is_along else best
        )

    @cached_property
    def _claim_frame(self) -> str:
        return self.claim_template.format(
            table=self.table,
            columns=fetched(started_at="NULLIF(started_at, %(now)s)", **self.fetched_as),
            best="{best}",
            changes=(
                f"{STARTED.format(now='%(now)s')}, state = '{State.PROCESSING.value}', "
                "token = token + 1, attempts = attempts + 1, worker_id = %(worker_id)s, "
                "last_attempted_at = %(now)s, finished_at = NULL, modified = %(now)s"
            ),
        )

    def _promote_due(self, parameters: list[Any]) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {self.table} SET is_due = TRUE WHERE id IN ("
                f"SELECT id FROM {self.table} WHERE {self.scheduled_in_queue} AND run_after <= %s "
                f"ORDER BY run_after LIMIT {PROMOTED_AT_ONCE} {self.lock_rows})",
                parameters,
            )
            return int(cursor.rowcount)
