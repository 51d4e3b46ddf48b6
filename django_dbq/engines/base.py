"""The engine contract, and an answer to every verb that any database of Django's can give.

The portable answer is the specification: the engines of single databases do the same, better.
Everything that a worker writes to a job is fenced: it names the job's token and its held state, so
that a worker that has lost the job changes nothing, and learns it.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from django.db import Error, OperationalError, connections, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce

from django_dbq.clock import as_stored
from django_dbq.exceptions import DatabaseNotReady
from django_dbq.models import Attempt, Job, WorkerProcess
from django_dbq.models.indexes import HELD_BY_A_WORKER, READY, SCHEDULED
from django_dbq.models.job import as_json
from django_dbq.rules.outcomes import Outcome
from django_dbq.rules.states import HELD, WAITING, State

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRIES_AT_A_CONTENDED_STATEMENT = 5
PROMOTED_BY_ID = 500
RESCUED_AT_ONCE = 500
INSERTED_AT_ONCE = 1_000

FIELDS = {field.name: field for field in Job._meta.concrete_fields}
SAME_IN_ALL = ("name", "queue_name", "priority", "run_after")


class Engine:
    """The verbs, on one database alias. Holds no state, so that any thread may have its own.

    All times are aware and on the database's clock. Every verb raises OperationalError or
    InterfaceError when the database cannot be reached, having changed nothing or all of it.
    """

    # Conditions and orders as raw SQL; each serves an index of `models/indexes.py`.
    ready_in_queue = f"queue_name = %s AND {READY}"
    scheduled_in_queue = f"queue_name = %s AND {SCHEDULED}"
    held_by_worker = f"worker_id = %s AND {HELD_BY_A_WORKER}"
    held_by_nobody = f"worker_id IS NULL AND {HELD_BY_A_WORKER}"
    held_by_somebody = f"worker_id IS NOT NULL AND {HELD_BY_A_WORKER}"
    claim_order = "priority DESC, created"
    lock_rows = ""

    def __init__(self, using: str) -> None:
        self.using = using
        self.table = self.connection.ops.quote_name(Job._meta.db_table)
        self.columns = ", ".join(str(field.column) for field in Job._meta.concrete_fields)

    @property
    def connection(self) -> Any:
        return connections[self.using]

    @property
    def jobs(self) -> QuerySet[Job]:
        return Job.objects.using(self.using).order_by()

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

    def forget_connection(self) -> None:
        """Close a connection that may be broken; the next statement opens a new one."""
        try:
            self.connection.close()
        except Error:
            self.connection.connection = None

    # Enqueue

    def insert_alike(self, template: Job, workspaces: Iterable[dict[str, Any] | None]) -> int:
        """Insert a job like `template` for each workspace, as they come; returns how many.

        In the caller's transaction, and in memory that does not grow with their number. Creation
        hooks run, each on its own job. Raises WorkspaceNotJSON for a workspace that is not.
        """
        alike = {name: getattr(template, name) for name in SAME_IN_ALL}
        return sum(
            len(self.jobs.bulk_create([Job(workspace=workspace, **alike) for workspace in batch]))
            for batch in batches(workspaces, INSERTED_AT_ONCE)
        )

    # Claim

    def claim(
        self, queues: Sequence[str], *, limit: int, worker_id: int | None, now: datetime
    ) -> list[Job]:
        """Take up to `limit` due jobs for a worker: queue by queue, in each the best first.

        Best is the highest priority, then the oldest. No two callers ever get the same job. A job
        that another caller has locked is left out rather than waited for, so that fewer than
        `limit` may come back although more are due.
        """
        claimed: list[Job] = []
        for queue in queues:
            wanted = limit - len(claimed)
            if wanted <= 0:
                break
            claimed += self._persistently(self._claim_from, queue, wanted, worker_id, now)
        for job in claimed:
            job.is_held_here = True
        return claimed

    def _claim_from(
        self, queue: str, limit: int, worker_id: int | None, now: datetime
    ) -> list[Job]:
        self._promote(queue, now)
        with transaction.atomic(using=self.using):
            jobs = self._lock_best(queue, limit, now)
            if jobs:
                self._mark_claimed(jobs, worker_id, now)
        return jobs

    def _lock_best(self, queue: str, limit: int, now: datetime) -> list[Job]:
        best = self.jobs.filter(queue_name=queue, state__in=WAITING, gate__isnull=True)
        best = best.due(as_stored(now)).order_by("-priority", "created")  # type: ignore[attr-defined]
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

    def _promote(self, queue: str, now: datetime) -> None:
        """Move jobs whose time has come from the index of scheduled jobs to that of ready ones.

        So a due job takes its place by priority and age, and one that is not yet due costs a claim
        nothing. The question comes first because it takes no lock.
        """
        parameters = [queue, self._as_parameter(now)]
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT 1 FROM {self.table} "
                f"WHERE {self.scheduled_in_queue} AND run_after <= %s LIMIT 1",
                parameters,
            )
            some_are_due = cursor.fetchone() is not None
        if some_are_due:
            self._promote_due(parameters)

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
        groups = list(_alike(finished))
        nothing_failed = not any(outcome.failure for _, outcome in finished)
        if len(groups) == 1 and nothing_failed and self._is_one_statement(groups[0]):
            return self._write(groups[0], now)  # which needs no transaction around it
        with transaction.atomic(using=self.using):
            lost = set().union(*(self._write(alike, now) for alike in groups))
            self._keep_stories(finished, lost, worker)
        return lost

    def _is_one_statement(self, alike: _Alike) -> bool:
        return alike.workspaces is None and len(_ids_by_token(alike.jobs)) == 1

    def _write(self, alike: _Alike, now: datetime) -> set[UUID]:
        moment = as_stored(now)
        values = {**alike.values, "modified": moment}
        if values["state"] == State.READY:
            values["worker_id"] = None
        else:
            values["finished_at"] = moment
        if "run_after" in values:
            values["is_due"] = None
        if self._update_held(values, alike.jobs, alike.workspaces) == len(alike.jobs):
            return set()
        return self._lost(alike.jobs, values["state"])

    def _update_held(
        self, values: dict[str, Any], jobs: Sequence[Job], workspaces: Sequence[str] | None
    ) -> int:
        """Set these values, and each its workspace, where the jobs are still held; how many were.

        The jobs are of one worker. It is part of the fence because a 3.3 worker claims without
        touching the token: an outcome of ours that is sent again must not pass for its.
        `workspaces` are JSON texts, one for each job, or None to leave them alone.
        """
        if workspaces is None:
            return sum(
                self.jobs.filter(
                    pk__in=ids, token=token, worker_id=jobs[0].worker_id, state__in=HELD
                ).update(**values)
                for token, ids in _ids_by_token(jobs).items()
            )
        columns, parameters = self._assignments(values)
        statement = (
            f"UPDATE {self.table} SET {columns}, workspace = %s "
            f"WHERE id = %s AND token = %s AND {held_by(jobs[0].worker_id)}"
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
        for token, ids in _ids_by_token(jobs).items():
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

    # While it is held

    def mark_stopping(self, jobs: Collection[Job], *, now: datetime) -> None:
        """Show on running jobs that their worker has been asked to exit."""
        for token, ids in _ids_by_token(jobs).items():
            self.jobs.filter(pk__in=ids, token=token, state=State.PROCESSING).update(
                state=State.STOPPING, modified=as_stored(now)
            )

    def hand_back(self, jobs: Collection[Job], *, now: datetime) -> int:
        """Give back jobs that were claimed and not started; it costs them no attempt."""
        return self._persistently(self._hand_back, jobs, now)

    def _hand_back(self, jobs: Collection[Job], now: datetime) -> int:
        with transaction.atomic(using=self.using):
            return sum(
                self._release(self.jobs.filter(pk__in=ids, token=token), now, attempts_given_back=1)
                for token, ids in _ids_by_token(jobs).items()
            )

    def hand_back_unknown(self, worker_id: int, *, known: Collection[UUID], now: datetime) -> int:
        """Give back what a living worker holds without knowing: a claim whose answer was lost."""
        unknown = [pk for pk in self._held_by(worker_id) if pk not in known]
        return self._release(
            self.jobs.filter(pk__in=unknown, worker_id=worker_id), now, attempts_given_back=1
        )

    def _release(self, jobs: QuerySet[Job], now: datetime, *, attempts_given_back: int) -> int:
        untouched = Q(attempts=1, task_index=0, crashes=0) if attempts_given_back else Q(pk=None)
        return jobs.filter(state__in=HELD).update(
            # Before `attempts`: MySQL computes later columns from those already set.
            state=Case(
                When(untouched, then=Value(State.NEW.value)), default=Value(State.READY.value)
            ),
            started_at=Case(When(untouched, then=Value(None)), default=F("started_at")),
            attempts=F("attempts") - attempts_given_back,
            worker_id=None,
            # What a former holder still sends is fenced out now, not only after the next claim: to
            # it, a row that is READY under its own token would be one that it had written itself.
            token=F("token") + 1,
            modified=as_stored(now),
        )

    # Who is alive

    def register(
        self, *, hostname: str, pid: int, queues: Sequence[str], now: datetime
    ) -> WorkerProcess:
        """Make a worker known; its row's id is the owner of what it will claim."""
        moment = as_stored(now)
        return WorkerProcess.objects.using(self.using).create(
            hostname=hostname[:255],
            pid=pid,
            queues=list(queues),
            started_at=moment,
            last_seen=moment,
        )

    def heartbeat(self, worker_ids: Collection[int], *, now: datetime) -> set[int]:
        """Say that these workers live; returns those that have been taken for dead already."""
        workers = WorkerProcess.objects.using(self.using).filter(pk__in=worker_ids)
        if workers.update(last_seen=as_stored(now)) == len(worker_ids):
            return set()
        return set(worker_ids).difference(workers.values_list("pk", flat=True))

    def deregister(self, worker_id: int) -> None:
        """Forget a worker that holds nothing any more."""
        WorkerProcess.objects.using(self.using).filter(pk=worker_id).delete()

    def silent_workers(self, *, since: datetime) -> list[int]:
        """The workers that have sent no heartbeat since then."""
        silent = WorkerProcess.objects.using(self.using).silent_since(since)
        return list(silent.values_list("pk", flat=True))

    def vanished_workers(self) -> list[int]:
        """Workers that are not registered any more and hold jobs all the same.

        One that was frozen just as it claimed: others buried it, and then the claim arrived.
        """
        workers = self.connection.ops.quote_name(WorkerProcess._meta.db_table)
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT DISTINCT worker_id FROM {self.table} WHERE {self.held_by_somebody} "
                f"AND worker_id NOT IN (SELECT id FROM {workers})"
            )
            return [row[0] for row in cursor.fetchall()]

    def rescue(self, worker_id: int, *, now: datetime) -> int:
        """Give back all that a dead worker holds, and forget the worker; returns how many jobs.

        From here on whatever that worker still sends is fenced out. Jobs without an owner are never
        touched: a 3.3 worker may be running them.
        """
        rescued = 0
        while True:
            batch = self._persistently(self._rescue_batch, worker_id, now)
            rescued += batch
            if batch < RESCUED_AT_ONCE:
                break
        self.deregister(worker_id)
        return rescued

    def _rescue_batch(self, worker_id: int, now: datetime) -> int:
        with transaction.atomic(using=self.using):
            ids = self._held_by(worker_id, limit=RESCUED_AT_ONCE)
            dead = self.jobs.filter(pk__in=ids, worker_id=worker_id)
            return self._release(dead, now, attempts_given_back=0) if ids else 0

    def _held_by(self, worker_id: int, *, limit: int = 100_000) -> list[UUID]:
        return self._ids(f"{self.held_by_worker} LIMIT {limit} {self.lock_rows}", [worker_id])

    def orphans(self) -> list[UUID]:
        """Held jobs without an owner: a 3.3 worker is running them, or died doing it."""
        return self._ids(self.held_by_nobody, [])

    def requeue_orphans(self, ids: Collection[UUID], *, now: datetime) -> int:
        """Give back jobs without an owner, on a person's word that nobody runs them."""
        orphans = self.jobs.filter(pk__in=ids, worker_id__isnull=True)
        return self._release(orphans, now, attempts_given_back=0)

    # Keeping house

    def prune(self, *, created_before: datetime, limit: int) -> int:
        """Delete up to `limit` finished jobs of that age; returns how many."""
        return self.jobs.prune(  # type: ignore[attr-defined,no-any-return]
            as_stored(created_before), limit=limit
        )

    def depths(self, *, exclude_future_jobs: bool = False) -> dict[str, int]:
        """How many jobs wait in each queue; queues where none waits are left out."""
        return Job.get_queue_depths(exclude_future_jobs=exclude_future_jobs, using=self.using)

    # How statements are sent

    def _ids(self, condition: str, parameters: list[Any]) -> list[UUID]:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {self.table} WHERE {condition}", parameters)
            return [Job._meta.pk.to_python(row[0]) for row in cursor.fetchall()]

    def _assignments(self, values: dict[str, Any]) -> tuple[str, list[Any]]:
        """The values as the SET of a raw UPDATE, and its parameters."""
        fields = [FIELDS[name] for name in values]
        return ", ".join(f"{field.column} = %s" for field in fields), [
            field.get_db_prep_save(value, self.connection)
            for field, value in zip(fields, values.values())
        ]

    def _id_as_parameter(self, job: Job) -> Any:
        return Job._meta.pk.get_db_prep_save(job.pk, self.connection)

    def _as_parameter(self, moment: datetime) -> Any:
        return self.connection.ops.adapt_datetimefield_value(as_stored(moment))

    def _persistently(self, verb: Callable[..., T], *args: Any) -> T:
        """Do it again when it failed for a reason that passes, such as a deadlock."""
        for tries_left in range(TRIES_AT_A_CONTENDED_STATEMENT - 1, -1, -1):
            try:
                return verb(*args)
            except OperationalError as error:
                in_the_callers_hands = self.connection.in_atomic_block
                if not tries_left or in_the_callers_hands or not self.is_transient(error):
                    raise
                logger.info("The database failed us (%s); trying again.", str(error).strip())
                time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 (spreads rivals, no secret)
        raise AssertionError("unreachable")

    def is_transient(self, error: OperationalError) -> bool:
        """Whether it failed for no fault of the statement and may succeed when it is sent again.

        Rivals, a time limit, a full disk, a server that is shutting down or read-only.
        """
        return False


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, as they come, in lists of that size."""
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, size)), [])


@dataclass
class _Alike:
    """Jobs whose outcomes set the same values, but for their workspaces."""

    values: dict[str, Any]
    jobs: list[Job]
    workspaces: list[str] | None


def _alike(finished: Iterable[tuple[Job, Outcome]]) -> Iterable[_Alike]:
    """Most of a batch sets the same values, and is written by one statement."""
    groups: dict[Any, _Alike] = {}
    for job, outcome in finished:
        values = outcome.values()
        has_workspace = "workspace" in values
        workspace = values.pop("workspace", None)
        key = (job.worker_id, has_workspace, *values.items())
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Alike(values, [], [] if has_workspace else None)
        group.jobs.append(job)
        if group.workspaces is not None:
            group.workspaces.append(as_json(workspace))
    return groups.values()


def held_by(worker_id: int | None) -> str:
    """The condition that a job is held, and by this worker (None: a `Worker` of 3.x)."""
    owner = "IS NULL" if worker_id is None else f"= {int(worker_id)}"
    return f"worker_id {owner} AND {HELD_BY_A_WORKER}"


def _ids_by_token(jobs: Iterable[Job]) -> dict[int, list[UUID]]:
    ids: dict[int, list[UUID]] = defaultdict(list)
    for job in jobs:
        ids[job.token].append(job.pk)
    return ids
