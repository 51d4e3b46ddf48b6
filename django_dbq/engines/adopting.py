"""How the rows of another queue's table become jobs: in one transaction, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet

from django_dbq.engines.inserting import Inserting
from django_dbq.engines.statements import FIELDS
from django_dbq.exceptions import CannotAdopt
from django_dbq.models import Attempt, Job
from django_dbq.models.arrivals import announce_all


@dataclass
class Choice:
    """Of some rows of one table: those that move to the other, and those that cannot."""

    taken: list[tuple[Any, Any]] = field(default_factory=list)
    """Each row, and what it becomes."""

    refused: list[tuple[Any, str]] = field(default_factory=list)
    """Each row, and the reason."""

    attempts: list[Attempt] = field(default_factory=list)
    """The stories that come with rows that become jobs."""


Choose = Callable[[list[Any]], Choice]


class Adopting(Inserting):
    """The verbs that move rows from another queue's table to ours, and back.

    A row keeps its id. `choose` gets rows locked and as they are now, without those that somebody
    else has locked; after a deadlock it is called again. Workers of both queues lock what they
    take. So nobody runs a row that is moved, and none moves that somebody runs.
    """

    def adopt(self, rows: QuerySet[Any], choose: Choose) -> Choice:
        """Insert the jobs that `choose` makes of these rows, and delete the rows."""
        return self._persistently(self._adopt, rows, choose)

    def give_back(self, jobs: QuerySet[Job], choose: Choose) -> Choice:
        """Insert the rows that `choose` makes of these jobs, and delete the jobs."""
        return self._persistently(self._give_back, jobs, choose)

    def _adopt(self, rows: QuerySet[Any], choose: Choose) -> Choice:
        with transaction.atomic(using=self.using):
            choice = choose(self._locked(rows))
            jobs = [job for _, job in choice.taken]
            if jobs:
                self._insert_as_they_are(jobs)
                Attempt.objects.using(self.using).bulk_create(choice.attempts)
                self._delete(rows.model, [job.pk for job in jobs])
                announce_all((job.queue_name for job in jobs if job.is_news), using=self.using)
        return choice

    def _give_back(self, jobs: QuerySet[Job], choose: Choose) -> Choice:
        with transaction.atomic(using=self.using):
            choice = choose(self._locked(jobs))
            rows = [row for _, row in choice.taken]
            if rows:
                type(rows[0])._base_manager.using(self.using).bulk_create(rows)
                ids = [row.pk for row in rows]
                self._delete(Job, ids)
                Attempt.objects.using(self.using).filter(job_id__in=ids).delete()
        return choice

    def _locked(self, rows: QuerySet[Any]) -> list[Any]:
        self._begin_to_write()
        skip = self.connection.features.has_select_for_update_skip_locked
        return list(rows.select_for_update(skip_locked=skip))

    def _insert_as_they_are(self, jobs: Sequence[Job]) -> None:
        """Insert jobs with the values that they have, `created` and all."""
        columns = ", ".join(str(field.column) for field in FIELDS.values())
        rows = [[self._prepared(name, getattr(job, name)) for name in FIELDS] for job in jobs]
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {self.table} ({columns}) VALUES ({', '.join(['%s'] * len(FIELDS))})",
                rows,
            )

    def _delete(self, table: type[Model], ids: Sequence[Any]) -> None:
        gone = table._base_manager.using(self.using).filter(pk__in=ids)
        # Without signals: the row is not gone, it has moved.
        deleted = gone._raw_delete(self.using)
        if deleted != len(ids):
            raise CannotAdopt(
                table._meta.db_table,
                f"of {len(ids)} rows that were locked, {deleted} could be deleted",
                "Nothing of that batch was written.",
            )
