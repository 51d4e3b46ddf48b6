"""Move tasks between another queue's table and ours, under the ids that callers hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, router
from django.db.models import Count, QuerySet

from django_dbq.engines import engine_for
from django_dbq.engines.adopting import Choice, Choose
from django_dbq.exceptions import CannotAdopt
from django_dbq.models import Job
from django_dbq.models.foreign import TasksDBRow
from django_dbq.queue.tasks_db import as_jobs, as_rows
from django_dbq.rules.states import FINAL, WAITING

SOURCES = ("django_tasks_db",)
BATCH_SIZE = 1_000


@dataclass
class Adoption:
    """What was moved, or would be, and what stays where it is."""

    taken: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How many, by the status that they had, queue and task."""

    refused: dict[str, list[UUID]] = field(default_factory=lambda: defaultdict(list))
    """The ids of rows that cannot be moved, by the reason."""

    left: Counter[str] = field(default_factory=Counter)
    """How many more are in the table, by status: not asked for, locked, or new since then."""


def adopt(
    source: str,
    *,
    apply: bool,
    back: bool = False,
    with_results: bool = False,
    queues: Collection[str] = (),
    batch_size: int = BATCH_SIZE,
    using: str | None = None,
) -> Adoption:
    """Move the tasks that wait in another queue's table to ours; without `apply`, only look.

    `with_results` moves those that are finished, too; those that run are left alone. `back` moves
    Django tasks from ours to the other. Each batch is a transaction: after an interruption, the
    next call goes on.

    Raises:
        CannotAdopt: there is no such source; its table is not there, or not as it should be.
        DatabaseNotReady: ours is not.
    """
    if source not in SOURCES:
        raise CannotAdopt(source, "it is not known", f"The known ones are: {', '.join(SOURCES)}.")
    alias = using or router.db_for_write(Job)
    engine_for(alias).require_ready()
    _require_table(source, alias, is_written=back)
    way, adoption = _back(alias) if back else _here(alias), Adoption()
    table = way.table.filter(queue_name__in=queues) if queues else way.table
    for statuses in (way.waiting, way.finished) if with_results else (way.waiting,):
        for page in _pages(way, table, statuses, batch_size):

            def choose(rows: list[Any], statuses: Collection[str] = statuses) -> Choice:
                return way.choose([row for row in rows if getattr(row, way.status) in statuses])

            try:
                choice = way.move(page, choose) if apply else choose(list(page))
            except IntegrityError as error:
                raise _refused_by_the_database(source, error) from error
            _count(adoption, choice, way, are_taken_away=apply)
    adoption.left.update(dict(table.values_list(way.status).annotate(Count("pk"))))
    adoption.left = +adoption.left
    return adoption


@dataclass(frozen=True)
class _Way:
    """From which table, and what is done to its rows. `status` and `task` are names of columns."""

    table: QuerySet[Any]
    status: str
    task: str
    waiting: Collection[str]
    finished: Collection[str]
    choose: Choose
    move: Callable[[QuerySet[Any], Choose], Choice]


def _here(alias: str) -> _Way:
    return _Way(
        TasksDBRow._base_manager.using(alias).order_by(),
        status="status",
        task="task_path",
        waiting=(TasksDBRow.WAITING,),
        finished=(*TasksDBRow.SUCCESSFUL, TasksDBRow.FAILED),
        choose=partial(as_jobs, using=alias),
        move=engine_for(alias).adopt,
    )


def _back(alias: str) -> _Way:
    return _Way(
        Job.objects.using(alias).filter(backend__isnull=False).order_by(),
        status="state",
        task="name",
        waiting=WAITING,
        finished=FINAL,
        choose=partial(as_rows, using=alias),
        move=engine_for(alias).give_back,
    )


def _require_table(source: str, alias: str, *, is_written: bool) -> None:
    """Raise CannotAdopt unless the table is there, with all columns that are read; or written."""
    connection, table = connections[alias], TasksDBRow._meta.db_table
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            raise CannotAdopt(
                source,
                f"database {alias!r} has no table {table}",
                "If another one has it, name that with --database: jobs must be in the same.",
            )
        described = connection.introspection.get_table_description(cursor, table)
    wanted = {str(each.column) for each in TasksDBRow._meta.concrete_fields}
    found = {str(column.name) for column in described}
    missing, unknown = wanted - found, found - wanted
    if missing or (is_written and unknown):
        verb, names = ("lacks", missing) if missing else ("still has", unknown)
        raise CannotAdopt(
            source,
            f"its table {verb} {', '.join(sorted(names))}",
            "Bring it up to date first, with django-tasks-db 0.12 or later: "
            f"manage.py migrate django_tasks_database --database {alias}",
        )


def _refused_by_the_database(source: str, error: IntegrityError) -> CannotAdopt:
    reason = f"the database refused a batch ({error})".replace("\n", " ")
    return CannotAdopt(
        source, reason, "Nothing of it was written. Does a table of yours refer to its rows?"
    )


def _pages(
    way: _Way, table: QuerySet[Any], statuses: Collection[str], size: int
) -> Iterator[QuerySet[Any]]:
    """All rows of these statuses, in the order of the primary key, so that each comes once."""
    rest = rows = table.filter(**{f"{way.status}__in": statuses}).order_by("pk")
    while ids := list(rest.values_list("pk", flat=True)[:size]):
        # By id alone: a condition on the status could have the server lock what it passes by.
        yield table.model._base_manager.using(table.db).filter(pk__in=ids).order_by("pk")
        rest = rows.filter(pk__gt=ids[-1])


def _count(adoption: Adoption, choice: Choice, way: _Way, *, are_taken_away: bool) -> None:
    for row, _ in choice.taken:
        status = str(getattr(row, way.status))
        adoption.taken[status, row.queue_name, getattr(row, way.task)] += 1
        if not are_taken_away:
            adoption.left[status] -= 1
    for row, reason in choice.refused:
        adoption.refused[reason].append(row.pk)
        adoption.left[str(getattr(row, way.status))] -= 1
