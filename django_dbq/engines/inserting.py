"""How jobs come into the table, any number at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, Optional
from uuid import UUID

from django.db.models import QuerySet

from django_dbq import settings as dbq_settings
from django_dbq.clock import aware_now
from django_dbq.engines.statements import Statements, batches
from django_dbq.models import Job
from django_dbq.models.arrivals import announce, is_soon
from django_dbq.models.job import JobQuerySet
from django_dbq.models.workspace import workspace_as_json
from django_dbq.rules.identifiers import uuids7

# Of jobs that are inserted together. `created` grows by a microsecond from row to row, so that they
# keep their order; it takes longer than that to make a row, so none is from the future.
SET_FOR_EACH = ("id", "created", "modified", "workspace")
CHOSEN_BY_THE_CALLER = ("name", "queue_name", "priority", "run_after", "backend")
SAME_IN_ALL = (*CHOSEN_BY_THE_CALLER, "state", "next_task", "task_index")
# Of workspaces in one statement. MariaDB takes 16 MB, and escaping may double them.
BYTES_AT_ONCE = 4 * 2**20
MICROSECOND = timedelta(microseconds=1)

# Rows that follow each other and are alike: their template, and the workspace of each.
Run = tuple[Job, list[Optional[dict[str, Any]]]]


class _InParts(QuerySet[Job]):
    """Inserts no more with one statement than a server takes."""

    def bulk_create(self, objs: Iterable[Job], *args: Any, **kwargs: Any) -> list[Job]:
        created: list[Job] = []
        for part in _parts(objs):
            created += super().bulk_create(part, *args, **kwargs)
        return created


class _JobsInParts(JobQuerySet, _InParts):  # type: ignore[override]  # of as_manager, unused
    """Parts are made last, when creation hooks have made the workspaces what they are."""


def _parts(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    part: list[Job] = []
    size = 0
    for job in jobs:
        own_size = len(job.workspace_as_json())
        if part and size + own_size > BYTES_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(job)
        size += own_size
    if part:
        yield part


class Inserting(Statements):
    """The verb that enqueues."""

    inserted_at_once = 1_000  # rows in one statement

    def insert_alike(self, template: Job, workspaces: Iterable[dict[str, Any] | None]) -> int:
        """Insert a job like `template` for each workspace, as they come; returns how many.

        In the caller's transaction, and in memory that does not grow with their number. Creation
        hooks run, each on its own job. Of unique jobs those are left out that are there already.
        Raises WorkspaceNotJSON for a workspace that is not, and PayloadTooLarge for one that is
        longer than the settings allow.
        """
        if template.declaration.creation_hook or template.declaration.unique is not None:
            return sum(
                self._insert_as_objects(template, batch)
                for batch in batches(workspaces, self.inserted_at_once)
            )
        self._make_template(template)
        inserted, largest = 0, dbq_settings.max_payload_bytes()
        # Drawn before each statement begins: where they come from may need this very connection.
        for batch in batches(workspaces, self.inserted_at_once):
            self._insert_rows([(template, batch)], largest)
            inserted += len(batch)
        if is_soon(template.run_after):
            announce(template.queue_name, using=self.using, jobs=inserted)
        return inserted

    def insert_each(self, rows: Iterable[tuple[Job, dict[str, Any] | None]]) -> int:
        """The same for any mix of jobs without creation hooks: each like its own template.

        Of unique jobs those are left out, and not counted, that are there already.

        A template that serves several rows should be the same object in each.
        """
        inserted, largest = Counter[str](), dbq_settings.max_payload_bytes()
        count = 0
        for batch in batches(rows, self.inserted_at_once):
            runs: list[Run] = []
            for template, workspace in batch:
                if not runs or runs[-1][0] is not template:
                    if not template.next_task:
                        self._make_template(template)
                    runs.append((template, []))
                runs[-1][1].append(workspace)
            for are_unique, some in groupby(runs, _are_unique):
                if are_unique:
                    count += sum(self._insert_as_objects(*run) for run in some)
                    continue
                alike = list(some)
                self._insert_rows(alike, largest)
                count += length_of(alike)
                for template, workspaces in alike:
                    if is_soon(template.run_after):
                        inserted[template.queue_name] += len(workspaces)
        for queue_name, jobs in inserted.items():
            announce(queue_name, using=self.using, jobs=jobs)
        return count

    def _make_template(self, template: Job) -> None:
        template.fill_in(template.declaration)
        template.require_storable()

    def _insert_as_objects(self, template: Job, workspaces: Sequence[dict[str, Any] | None]) -> int:
        alike = {name: getattr(template, name) for name in CHOSEN_BY_THE_CALLER}
        jobs = [Job(workspace=workspace, **alike) for workspace in workspaces]
        in_parts = _JobsInParts(Job, using=self.using)
        if template.declaration.unique is None:
            return len(in_parts.bulk_create(jobs))
        self._begin_to_write()
        created = in_parts.bulk_create(jobs, ignore_conflicts=True)
        return self.jobs.filter(pk__in=[job.pk for job in created]).count()

    def _insert_rows(self, runs: Sequence[Run], largest: int | None) -> None:
        columns = (*SET_FOR_EACH, *SAME_IN_ALL)
        start = aware_now()
        rows: list[tuple[Any, ...]] = []
        ids = iter(uuids7(length_of(runs)))
        known: dict[int, list[Any]] = {}
        for template, workspaces in runs:
            for_all = known.get(id(template))
            if for_all is None:
                for_all = [self._prepared(name, getattr(template, name)) for name in SAME_IN_ALL]
                known[id(template)] = for_all
            for workspace, id_bytes in zip(workspaces, ids):
                pk = self._prepared("id", UUID(bytes=id_bytes))
                created = self._as_parameter(start + len(rows) * MICROSECOND)
                text = workspace_as_json(workspace, template.name, largest)
                rows.append((pk, created, created, text, *for_all))
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {self.table} ({', '.join(columns)}) "
                f"VALUES ({', '.join(['%s'] * len(columns))})",
                rows,
            )


def _are_unique(run: Run) -> bool:
    return run[0].declaration.unique is not None


def length_of(runs: Sequence[Run]) -> int:
    return sum(len(workspaces) for _, workspaces in runs)
