"""How the engines send statements: one alias, the names of its columns, and tries that repeat."""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, Error, connections
from django.utils import timezone

from django_dbq.clock import as_stored
from django_dbq.models import Job
from django_dbq.models.indexes import HELD_BY_A_WORKER, READY, SCHEDULED
from django_dbq.models.job import JobQuerySet
from django_dbq.rules.declarations import Known

logger = logging.getLogger(__name__)

T = TypeVar("T")

TRIES_AT_A_CONTENDED_STATEMENT = 5

FIELDS = {field.name: field for field in Job._meta.concrete_fields}


class Statements:
    """What the verbs of an engine are written with.

    Holds no state: the alias, and what follows from it.
    """

    # Conditions and orders as raw SQL; each serves an index of `models/indexes.py`.
    ready = READY
    ready_queue = scheduled_queue = "queue_name"
    ready_in_queue = f"queue_name = %(queue)s AND {READY}"
    scheduled = SCHEDULED
    scheduled_in_queue = f"queue_name = %s AND {SCHEDULED}"
    held_by_worker = f"worker_id = %s AND {HELD_BY_A_WORKER}"
    held_by_nobody = f"worker_id IS NULL AND {HELD_BY_A_WORKER}"
    held_by_somebody = f"worker_id IS NOT NULL AND {HELD_BY_A_WORKER}"
    claim_order = "priority DESC, created"
    soonest_run_after = "run_after"  # of a scheduled job, where not all that is stored can be read
    lock_rows = ""
    ready_rows = ""  # which index to go by, where the planner has to be told

    def __init__(self, using: str) -> None:
        self.using = using
        self.table = self.connection.ops.quote_name(Job._meta.db_table)

    @property
    def connection(self) -> Any:
        return connections[self.using]

    @property
    def jobs(self) -> JobQuerySet:
        return JobQuerySet(Job, using=self.using).order_by()

    def forget_connection(self) -> None:
        """Close a connection that may be broken; the next statement opens a new one."""
        try:
            self.connection.close()
        except Error:
            self.connection.connection = None

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

    def _prepared(self, name: str, value: Any) -> Any:
        return FIELDS[name].get_db_prep_save(value, self.connection)

    def _id_as_parameter(self, job: Job) -> Any:
        return self._prepared("id", job.pk)

    def _as_parameter(self, moment: datetime) -> Any:
        return self.connection.ops.adapt_datetimefield_value(as_stored(moment))

    def _as_moment(self, stored: Any) -> datetime:
        """What a raw statement returns for a DateTimeField, as an aware time."""
        moment: datetime = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
        if moment.tzinfo is not None:
            return moment
        zone = self.connection.timezone if settings.USE_TZ else None
        return timezone.make_aware(moment, zone)

    def _persistently(self, verb: Callable[..., T], *args: Any) -> T:
        """Do it again when it failed for a reason that passes at once, such as a deadlock.

        A lock that has not come in time is no such reason: it has been waited for.
        """
        for tries_left in range(TRIES_AT_A_CONTENDED_STATEMENT - 1, -1, -1):
            try:
                return verb(*args)
            except DatabaseError as error:
                in_the_callers_hands = self.connection.in_atomic_block
                is_worth_it = self.is_transient(error) and not self.is_lock_timeout(error)
                if not tries_left or in_the_callers_hands or not is_worth_it:
                    raise
                logger.info("The database failed us (%s); trying again.", str(error).strip())
                time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 (spreads rivals, no secret)
        raise AssertionError("unreachable")

    def _begin_to_write(self) -> None:
        """What a transaction that reads before it writes begins with, where that needs a lock."""

    def is_transient(self, error: DatabaseError) -> bool:
        """Whether it failed for no fault of the statement and may succeed when it is sent again.

        Rivals, a time limit, a full disk, a server that is shutting down or read-only.
        """
        return False

    def has_lost_snapshot(self, error: BaseException) -> bool:
        """Whether a transaction has failed for good, as others have written since it first read."""
        return False

    def is_lock_timeout(self, error: BaseException) -> bool:
        """Whether a row was not to be had in the time that this session waits for a lock."""
        return False


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, as they come, in lists of that size."""
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, size)), [])


def leaving_out(
    but: Collection[tuple[str, str]], only: Known | None = None
) -> tuple[str, dict[str, str]]:
    """The condition that a job is none of these names and tasks, and its named parameters.

    `only`: and that it is one of those, or a Django task, whose names nobody has a list of.
    """
    parameters: dict[str, str] = {}

    def listed(texts: Iterable[str]) -> str:
        keys = []
        for text in texts:
            keys.append(f"text_{len(parameters)}")
            parameters[keys[-1]] = text
        return ", ".join(f"%({key})s" for key in keys)

    condition = ""
    # Lists, because SQLite takes a thousand conditions beside each other for too deep a tree.
    if names := [name for name, task in but if not task]:
        condition += f" AND name NOT IN ({listed(names)})"
    for name, tasks in tasks_by_name(but).items():
        condition += f" AND NOT (name = {listed([name])} AND next_task IN ({listed(tasks)}))"
    if only:
        names_known, tasks_known = listed(only.names or [""]), listed(only.tasks or [""])
        known = f"name IN ({names_known}) AND next_task IN ({tasks_known})"
        condition += f" AND (backend IS NOT NULL OR {known})"
    return condition, parameters


def tasks_by_name(but: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    tasks: dict[str, list[str]] = defaultdict(list)
    for name, task in but:
        if task:
            tasks[name].append(task)
    return tasks


def is_held_by(worker_id: int | None) -> str:
    """The condition that a job is held, and by this worker (None: a `Worker` of 3.x).

    For rows that are named by id. Written so that no planner takes the index of held jobs for it:
    as long as an old snapshot is open, that has an entry for each job that the worker ever held.
    """
    owner = "IS NULL" if worker_id is None else f"= {int(worker_id)}"
    return f"CASE WHEN worker_id {owner} THEN {HELD_BY_A_WORKER} END"


def ids_by_token(jobs: Iterable[Job]) -> dict[int, list[UUID]]:
    ids: dict[int, list[UUID]] = defaultdict(list)
    for job in jobs:
        ids[job.token].append(job.pk)
    return ids
