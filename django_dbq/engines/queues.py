"""Which queues have jobs: found by their heads, with as many steps along an index as there are.

No statement here walks over the jobs of a queue. From the head of one queue the next step goes to
the first job whose queue has a greater name, however many lie between. It takes no list of queues
that somebody would have to keep: a queue is there as long as it has jobs.

See docs/decisions/0015-every-queue.md.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_dbq.clock import as_stored
from django_dbq.engines.statements import Statements, leaving_out
from django_dbq.rules.declarations import Known
from django_dbq.rules.heads import Head


@dataclass(frozen=True)
class Walk:
    """Along an index whose first column is the queue, to the first row of each."""

    table: str
    queue: str  # that column
    condition: str
    order: str  # within a queue, that of the index

    def step(self, columns: str, further: str = "") -> str:
        """To the first row; `further`: of those behind a queue."""
        return (
            f"SELECT {columns} FROM {self.table} WHERE {self.condition}{further} "
            f"ORDER BY {self.queue}, {self.order} LIMIT 1"
        )


class Queues(Statements):
    """The verbs about all queues at once."""

    def heads(
        self,
        *,
        now: datetime,
        but: Collection[tuple[str, str]] = (),
        only: Known | None = None,
    ) -> list[Head]:
        """The head of each queue of which a job can be claimed, in no order. Takes no lock.

        `but` are names of jobs to pass over, `only` those to look for, as in a `Claim`. Scheduled
        jobs that have become due are not seen before they are promoted.
        """
        others, names = leaving_out(but, only)
        walk = Walk(
            f"{self.table} {self.ready_rows}",
            self.ready_queue,
            f"{self.ready} AND (run_after IS NULL OR run_after <= %(now)s){others}",
            self.claim_order,
        )
        parameters = {**names, "now": self._as_parameter(now)}
        return [
            Head(-priority, as_stored(self._as_moment(created)), queue)
            for queue, priority, created in self._first_rows(walk, "priority, created", parameters)
        ]

    def soonest(self) -> list[tuple[datetime, str]]:
        """Of each queue with scheduled jobs the time of the soonest; the soonest of all first."""
        walk = Walk(self.table, self.scheduled_queue, self.scheduled, "run_after")
        rows = self._first_rows(walk, self.soonest_run_after, {})
        return sorted((self._as_moment(run_after), queue) for queue, run_after in rows)

    def _first_rows(
        self, walk: Walk, columns: str, parameters: dict[str, Any]
    ) -> list[tuple[Any, ...]]:
        """The queue and these columns of the first row of each. Here by a statement for each."""
        rows: list[tuple[Any, ...]] = []
        statement = walk.step(f"{walk.queue}, {columns}")
        with self.connection.cursor() as cursor:
            while True:
                cursor.execute(statement, parameters)
                row = cursor.fetchone()
                if row is None:
                    return rows
                rows.append(row)
                parameters = {**parameters, "queue": row[0]}
                statement = walk.step(f"{walk.queue}, {columns}", f" AND {walk.queue} > %(queue)s")
