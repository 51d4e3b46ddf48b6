"""The engine contract, and an answer to every verb that any database of Django's can give.

The portable answer is the specification: the engines of single databases do the same, better.
Everything that a worker writes to a job is fenced: it names the job's token and its held state, so
that a worker that has lost the job changes nothing, and learns it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from django.db import Error, transaction
from django.db.models import F, Value
from django.db.models.functions import Coalesce

from django_dbq.clock import as_stored, aware_now, monotonic
from django_dbq.engines.doorbells import Doorbells
from django_dbq.engines.pruning import Pruning
from django_dbq.engines.statements import batches, ids_by_token, is_held_by
from django_dbq.exceptions import DatabaseNotReady
from django_dbq.models import Attempt, Job, WorkerProcess
from django_dbq.models.arrivals import announce, is_soon
from django_dbq.models.job import as_json, workspace_as_json
from django_dbq.rules.identifiers import uuids7
from django_dbq.rules.outcomes import SUCCESS, Outcome
from django_dbq.rules.reach import Reach
from django_dbq.rules.states import WAITING, State

PROMOTED_BY_ID = 500

# Of jobs that are inserted together. `created` grows by a microsecond from row to row, so that they
# keep their order; it takes longer than that to make a row, so none is from the future.
SET_FOR_EACH = ("id", "created", "modified", "workspace")
CHOSEN_BY_THE_CALLER = ("name", "queue_name", "priority", "run_after")
SAME_IN_ALL = (*CHOSEN_BY_THE_CALLER, "state", "next_task", "task_index")
MICROSECOND = timedelta(microseconds=1)


class Engine(Doorbells, Pruning):
    """The verbs, on one database alias. Holds no state, so that any thread may have its own.

    All times are aware and on the database's clock. Every verb raises OperationalError or
    InterfaceError when the database cannot be reached, having changed nothing or all of it.
    """

    # For how long a task may keep the interpreter when the answer to a statement has come (Python's
    # own choice: 5 ms). While a server works, the tasks run, and each answer is waited for twice.
    turn_seconds: float | None = 0.0005
    looks_along = False  # whether old snapshots slow looks down, and `Reach` helps
    inserted_at_once = 1_000  # rows in one statement

    # Before work

    def require_ready(self) -> None:
        """Raise DatabaseNotReady unless the database answers and has this version's tables."""
        try:
            self.connection.ensure_connection()
        except Error as error:
            raise DatabaseNotReady(
                self.using,
                f"it cannot be reached ({error}).".replace("\n", " "),
                hint="Start it, or mend settings.DATABASES.",
            ) from error
        if not self.is_supported:
            raise DatabaseNotReady(
                self.using,
                "its server is too old.",
                hint="PostgreSQL 13, MySQL 8.0.13, MariaDB 10.6 and SQLite 3.35 are the oldest "
                "that have what a claim needs.",
            )
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT token FROM {self.table} WHERE {self.ready_in_queue} LIMIT 1", [""]
                )
            WorkerProcess.objects.using(self.using).exists()
        except Error as error:
            raise DatabaseNotReady(
                self.using,
                f"its tables are not those of this version ({error}).".replace("\n", " "),
                hint=f"Run: manage.py migrate django_dbq --database {self.using}",
            ) from error

    @property
    def is_supported(self) -> bool:
        """Whether this version of the database has what the engine's statements need."""
        return True

    def now(self) -> datetime:
        """The time on the database's clock; here this host's."""
        return datetime.now(timezone.utc)

    # Enqueue

    def insert_alike(self, template: Job, workspaces: Iterable[dict[str, Any] | None]) -> int:
        """Insert a job like `template` for each workspace, as they come; returns how many.

        In the caller's transaction, and in memory that does not grow with their number. Creation
        hooks run, each on its own job. Raises WorkspaceNotJSON for a workspace that is not.
        """
        if template.declaration.creation_hook:
            return self._insert_as_objects(template, workspaces)
        template.next_task, template.task_index = template.declaration.tasks[0], 0
        template.require_storable()
        inserted = 0
        # Drawn before each statement begins: where they come from may need this very connection.
        for batch in batches(workspaces, self.inserted_at_once):
            self._insert_rows(template, batch)
            inserted += len(batch)
        if is_soon(template.run_after):
            announce(template.queue_name, using=self.using, jobs=inserted)
        return inserted

    def _insert_as_objects(self, template: Job, workspaces: Iterable[dict[str, Any] | None]) -> int:
        alike = {name: getattr(template, name) for name in CHOSEN_BY_THE_CALLER}
        return sum(
            len(self.jobs.bulk_create([Job(workspace=workspace, **alike) for workspace in batch]))
            for batch in batches(workspaces, self.inserted_at_once)
        )

    def _insert_rows(self, template: Job, workspaces: Sequence[dict[str, Any] | None]) -> None:
        columns = (*SET_FOR_EACH, *SAME_IN_ALL)
        for_all = [self._prepared(name, getattr(template, name)) for name in SAME_IN_ALL]
        start = aware_now()
        rows = []
        for number, (id_bytes, workspace) in enumerate(zip(uuids7(len(workspaces)), workspaces)):
            pk = self._prepared("id", UUID(bytes=id_bytes))
            created = self._as_parameter(start + number * MICROSECOND)
            rows.append(
                (pk, created, created, workspace_as_json(workspace, template.name), *for_all)
            )
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {self.table} ({', '.join(columns)}) "
                f"VALUES ({', '.join(['%s'] * len(columns))})",
                rows,
            )

    # Claim

    def claim(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        worker_id: int | None,
        now: datetime,
        but: Collection[tuple[str, str]] = (),
        reach: Reach | None = None,
    ) -> list[Job]:
        """Take up to `limit` due jobs for a worker: queue by queue, in each the best first.

        Best is the highest priority, then the oldest. No two callers ever get the same job. A job
        that another caller has locked is left out rather than waited for, so that fewer than
        `limit` may come back although more are due. `but` are names of jobs to leave to others,
        each with the task that it is about, or "" for all.

        `reach` is what a caller that claims again and again keeps between its claims. With it the
        best may be passed over for as long as twenty looks everywhere take.
        """
        claimed: list[Job] = []
        for queue in queues:
            wanted = limit - len(claimed)
            if wanted <= 0:
                break
            claimed += self._persistently(
                self._claim_from, queue, wanted, worker_id, now, but, reach
            )
        for job in claimed:
            job.is_held_here = True
        return claimed

    def _claim_from(
        self,
        queue: str,
        limit: int,
        worker_id: int | None,
        now: datetime,
        but: Collection[tuple[str, str]],
        reach: Reach | None,
    ) -> list[Job]:
        is_asked = reach is None or reach.asks_for_due(queue, at=monotonic())
        if is_asked:
            self._promote(queue, now, reach)
        jobs = self._claim_along(queue, limit, worker_id, now, but, reach)
        # Nothing there: not to have asked is no reason to say so.
        if not jobs and not is_asked and self._promote(queue, now, reach):
            jobs = self._claim_along(queue, limit, worker_id, now, but, reach)
        return jobs

    def _claim_along(
        self,
        queue: str,
        limit: int,
        worker_id: int | None,
        now: datetime,
        but: Collection[tuple[str, str]],
        reach: Reach | None,
    ) -> list[Job]:
        """Claim the best, where it is quick along the queue; everywhere, if there is none."""
        if reach is None or not self.looks_along:
            return self._claim_best(queue, limit, worker_id, now, but, {})
        began_at = monotonic()
        begins = reach.begins(queue, at=began_at)
        if begins:
            jobs = self._claim_best(queue, limit, worker_id, now, but, begins)
            if jobs:
                reach.found(queue, jobs)
                return jobs
        jobs = self._claim_best(queue, limit, worker_id, now, but, {})
        reach.looked_everywhere(queue, jobs, began_at=began_at, ended_at=monotonic())
        return jobs

    def _claim_best(
        self,
        queue: str,
        limit: int,
        worker_id: int | None,
        now: datetime,
        but: Collection[tuple[str, str]],
        begins: Mapping[int, datetime],
    ) -> list[Job]:
        """Claim the best, looking only from these `created` on, by priority; empty: everywhere."""
        with transaction.atomic(using=self.using, savepoint=False):
            jobs = self._lock_best(queue, limit, now, but, begins)
            if jobs:
                self._mark_claimed(jobs, worker_id, now)
        return jobs

    def _lock_best(
        self,
        queue: str,
        limit: int,
        now: datetime,
        but: Collection[tuple[str, str]],
        begins: Mapping[int, datetime],
    ) -> list[Job]:
        best = self.jobs.filter(queue_name=queue, state__in=WAITING, gate__isnull=True)
        best = best.due(as_stored(now)).order_by("-priority", "created")  # type: ignore[attr-defined]
        for name, task in but:
            best = best.exclude(name=name, next_task=task) if task else best.exclude(name=name)
        features = self.connection.features
        if features.has_select_for_update:
            skip = features.has_select_for_update_skip_locked
            best = best.select_for_update(skip_locked=skip)
        return list(best[:limit])

    def _mark_claimed(self, jobs: list[Job], worker_id: int | None, now: datetime) -> None:
        moment = as_stored(now)
        self.jobs.filter(pk__in=[job.pk for job in jobs]).update(
            state=State.PROCESSING,
            token=F("token") + 1,
            attempts=F("attempts") + 1,
            worker_id=worker_id,
            started_at=Coalesce("started_at", Value(moment)),
            finished_at=None,
            modified=moment,
        )
        for job in jobs:
            job.state = State.PROCESSING
            job.token += 1
            job.attempts += 1
            job.worker_id = worker_id
            job.started_at = job.started_at or moment
            job.finished_at = None
            job.modified = moment

    def _promote(self, queue: str, now: datetime, reach: Reach | None) -> bool:
        """Move jobs whose time has come from the index of scheduled jobs to that of ready ones.

        So a due job takes its place by priority and age, and one that is not yet due costs a claim
        nothing. The question comes first because it takes no lock. Returns whether any were due.
        """
        parameters, began_at = [queue, self._as_parameter(now)], monotonic()
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT 1 FROM {self.table} "
                f"WHERE {self.scheduled_in_queue} AND run_after <= %s LIMIT 1",
                parameters,
            )
            some_are_due = cursor.fetchone() is not None
        if some_are_due:
            self._promote_due(parameters)
        elif reach is not None:
            reach.asked_for_due(queue, began_at=began_at, ended_at=monotonic())
        return some_are_due

    def _promote_due(self, parameters: list[Any]) -> None:
        """Given the queue and the time, promote the longest due, a bounded number of them."""
        # Two statements: MariaDB's UPDATE would wait for a row that a rival has locked.
        with transaction.atomic(using=self.using):
            due = self._ids(
                f"{self.scheduled_in_queue} AND run_after <= %s "
                f"ORDER BY run_after LIMIT {PROMOTED_BY_ID} {self.lock_rows}",
                parameters,
            )
            self.jobs.filter(pk__in=due).update(is_due=True)

    # Acknowledge

    def acknowledge(
        self, finished: Sequence[tuple[Job, Outcome]], *, now: datetime, worker: str = ""
    ) -> set[UUID]:
        """Write the outcomes of attempts down, all in one transaction.

        Returns the ids of the jobs that were no longer this caller's: nothing was written for them.
        Sending the same outcomes again after a commit whose fate is unknown is safe.
        """
        lost = self._persistently(self._acknowledge, finished, now, worker)
        for job, _ in finished:
            job.is_held_here = False
        return lost

    def _acknowledge(
        self, finished: Sequence[tuple[Job, Outcome]], now: datetime, worker: str
    ) -> set[UUID]:
        groups = list(_alike(finished, now))
        nothing_failed = not any(outcome.failure for _, outcome in finished)
        if len(groups) == 1 and nothing_failed and self._is_one_statement(groups[0]):
            return self._write(groups[0], now)  # which needs no transaction around it
        with transaction.atomic(using=self.using, savepoint=False):
            lost = set().union(*(self._write(alike, now) for alike in groups))
            self._keep_stories(finished, lost, worker)
        return lost

    def _is_one_statement(self, alike: _Alike) -> bool:
        return alike.workspaces is None and len(ids_by_token(alike.jobs)) == 1

    def _write(self, alike: _Alike, now: datetime) -> set[UUID]:
        moment = as_stored(now)
        values = {**alike.values, "modified": moment}
        if values["state"] == State.READY:
            values["worker_id"] = None
        else:
            values["finished_at"] = moment
        if "run_after" in values:
            values["is_due"] = None
            values["run_after"] = values["run_after"] and as_stored(values["run_after"])
        if self._update_held(values, alike.jobs, alike.workspaces) == len(alike.jobs):
            return set()
        return self._lost(alike.jobs, values["state"])

    def _update_held(
        self, values: dict[str, Any], jobs: Sequence[Job], workspaces: Sequence[str] | None
    ) -> int:
        """Set these values, and each its workspace, where the jobs are still held; how many were.

        The jobs are of one worker: see `_still_held`.
        `workspaces` are JSON texts, one for each job, or None to leave them alone.
        """
        if workspaces is None:
            return sum(held.update(**values) for held in self._still_held(jobs))
        columns, parameters = self._assignments(values)
        statement = (
            f"UPDATE {self.table} SET {columns}, workspace = %s "
            f"WHERE id = %s AND token = %s AND {is_held_by(jobs[0].worker_id)}"
        )
        with self.connection.cursor() as cursor:
            cursor.executemany(
                statement,
                [
                    [*parameters, workspace, self._id_as_parameter(job), job.token]
                    for job, workspace in zip(jobs, workspaces)
                ],
            )
            return int(cursor.rowcount)

    def _lost(self, jobs: Iterable[Job], state: State) -> set[UUID]:
        """Those of the jobs that were not ours to write.

        Not lost is what was written before, by a commit whose answer never came: it has our token,
        and the state that the outcome gives.
        """
        lost: set[UUID] = set()
        for token, ids in ids_by_token(jobs).items():
            ours = self.jobs.filter(pk__in=ids, token=token, state=state)
            lost.update(set(ids).difference(ours.values_list("pk", flat=True)))
        return lost

    def _keep_stories(
        self, finished: Iterable[tuple[Job, Outcome]], lost: set[UUID], worker: str
    ) -> None:
        stories = [
            Attempt(
                job_id=job.pk,
                job_name=str(job.name)[:100],
                task=failure.task[:100],
                number=failure.number,
                exception=failure.exception[:255],
                message=failure.message,
                traceback=failure.traceback,
                worker=worker[:255],
                worker_id=job.worker_id,
                started_at=as_stored(failure.started_at),
                finished_at=as_stored(failure.finished_at),
            )
            for job, outcome in finished
            for failure in [outcome.failure]
            if failure and job.pk not in lost
        ]
        if stories:
            attempts = Attempt.objects.using(self.using)
            kept = attempts.filter(job_id__in=[story.job_id for story in stories])
            told = set(kept.values_list("job_id", "started_at"))
            attempts.bulk_create(
                [story for story in stories if (story.job_id, story.started_at) not in told]
            )

    # Both at once

    def exchange(
        self,
        finished: Sequence[tuple[Job, Outcome]],
        queues: Sequence[str],
        *,
        limit: int,
        worker_id: int | None,
        now: datetime,
        but: Collection[tuple[str, str]] = (),
        reach: Reach | None = None,
    ) -> tuple[set[UUID], list[Job]]:
        """`acknowledge`, then `claim`, in one transaction: one commit, one wait for the disk."""

        def both() -> tuple[set[UUID], list[Job]]:
            with transaction.atomic(using=self.using):
                lost = self.acknowledge(finished, now=now)
                return lost, self.claim(
                    queues, limit=limit, worker_id=worker_id, now=now, but=but, reach=reach
                )

        return self._persistently(both)

    # Numbers

    def depths(self, *, exclude_future_jobs: bool = False) -> dict[str, int]:
        """How many jobs wait in each queue; queues where none waits are left out."""
        return Job.get_queue_depths(exclude_future_jobs=exclude_future_jobs, using=self.using)


@dataclass
class _Alike:
    """Jobs whose outcomes set the same values, but for their workspaces."""

    values: dict[str, Any]
    jobs: list[Job]
    workspaces: list[str] | None


def _alike(finished: Iterable[tuple[Job, Outcome]], now: datetime) -> Iterable[_Alike]:
    """Most of a batch sets the same values, and is written by one statement."""
    groups: dict[Any, _Alike] = {}
    succeeded: dict[int | None, _Alike] = {}
    for job, outcome in finished:
        if outcome is SUCCESS and job.worker_id in succeeded:
            succeeded[job.worker_id].jobs.append(job)
            continue
        values = outcome.values(now)
        has_workspace = "workspace" in values
        workspace = values.pop("workspace", None)
        key = (job.worker_id, has_workspace, *values.items())
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Alike(values, [], [] if has_workspace else None)
        if outcome is SUCCESS:
            succeeded[job.worker_id] = group
        group.jobs.append(job)
        if group.workspaces is not None:
            group.workspaces.append(as_json(workspace))
    return groups.values()
