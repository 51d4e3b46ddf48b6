"""The four indexes of the job table, and how each database builds them.

A job lives in few index entries and only while they are of use: finished rows stand in none but the
primary key, future rows stand where no claim walks, and only a job that is declared `unique` stands
where each key is once. PostgreSQL and SQLite say so with partial indexes. MySQL and MariaDB have
none: there a virtual column is the queue's name (the worker's id, the key) while the row belongs in
the index and NULL afterwards.

See docs/decisions/0001-order-and-indexes.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.db import models

from django_dbq.rules.states import ALIVE, HELD, WAITING, sql_list

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# These texts stand in the predicates of the indexes and, word for word, in the statements that use
# them: a planner proves that a partial index serves a query only where the two are alike.
OPEN = f"state IN ({sql_list(WAITING)}) AND gate IS NULL"
READY = f"{OPEN} AND (run_after IS NULL OR is_due)"
SCHEDULED = f"{OPEN} AND run_after IS NOT NULL AND is_due IS NULL"
HELD_BY_A_WORKER = f"state IN ({sql_list(HELD)})"


class JobIndex(models.Index):
    """An index of the job table; a subclass is one index, the same in every migration."""

    columns: tuple[str, ...]
    predicate: str | None = None
    mysql_columns: tuple[str, ...]
    mysql_virtual_columns: dict[str, str]
    kind = "INDEX"

    def __init__(self, *, name: str, **options: Any) -> None:
        super().__init__(fields=self.columns, name=name)

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        kwargs.pop("fields")
        return path, args, kwargs

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Any:
        if schema_editor.connection.vendor == "mysql":
            return self._mysql_alter(model, schema_editor, *self._mysql_actions(schema_editor))
        concurrently = kwargs.get("concurrently", False)
        template = "sql_create_index_concurrently" if concurrently else "sql_create_index"
        plain: str = getattr(schema_editor, template)
        kwargs["sql"] = plain.replace("CREATE INDEX", f"CREATE {self.kind}")
        return super().create_sql(model, schema_editor, using=using, **kwargs)

    def _get_condition_sql(self, model: Any, schema_editor: Any) -> str | None:
        return self.predicate

    def mysql_statements(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        *,
        present: Collection[str],
    ) -> list[str]:
        """One statement a step: MariaDB does each online, and all at once only by a copy.

        `present` are the columns that the table has: those of an interrupted run are not added.
        """
        steps = self._mysql_actions(schema_editor, present)
        return [self._mysql_alter(model, schema_editor, step) for step in steps]

    def _mysql_actions(
        self, schema_editor: BaseDatabaseSchemaEditor, present: Collection[str] = ()
    ) -> list[str]:
        quote = schema_editor.quote_name
        virtual = [
            f"ADD COLUMN {quote(column)} {definition}"
            for column, definition in self.mysql_virtual_columns.items()
            if column not in present
        ]
        columns = ", ".join(map(quote, self.mysql_columns))
        index = f"ADD {self.kind} {quote(self.name)} ({columns})"
        return [*virtual, index]

    def _mysql_alter(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, *actions: str
    ) -> str:
        return f"ALTER TABLE {schema_editor.quote_name(model._meta.db_table)} {', '.join(actions)}"


class ReadyIndex(JobIndex):
    """Jobs that may run now, by queue, in the order in which they are claimed."""

    columns = ("queue_name", "-priority", "created")
    predicate = READY
    mysql_columns = ("dbq_ready_queue", "dbq_rank", "created")
    mysql_virtual_columns = {
        "dbq_ready_queue": f"varchar(60) GENERATED ALWAYS AS "
        f"(CASE WHEN {READY} THEN queue_name END) VIRTUAL",
        # MariaDB before 10.8 has no descending keys.
        "dbq_rank": "integer GENERATED ALWAYS AS (-priority) VIRTUAL",
    }


class ScheduledIndex(JobIndex):
    """Jobs whose `run_after` no worker has seen pass yet, by queue, soonest first."""

    columns = ("queue_name", "run_after")
    predicate = SCHEDULED
    mysql_columns = ("dbq_scheduled_queue", "run_after")
    mysql_virtual_columns = {
        "dbq_scheduled_queue": f"varchar(60) GENERATED ALWAYS AS "
        f"(CASE WHEN {SCHEDULED} THEN queue_name END) VIRTUAL",
    }


class HeldIndex(JobIndex):
    """Jobs that are running or about to, by the worker that holds them."""

    columns = ("worker_id",)
    predicate = HELD_BY_A_WORKER
    mysql_columns = ("dbq_holder",)
    mysql_virtual_columns = {
        # 0: held by nobody that we know, which is how a 3.3 worker holds a job.
        "dbq_holder": f"bigint GENERATED ALWAYS AS "
        f"(CASE WHEN {HELD_BY_A_WORKER} THEN COALESCE(worker_id, 0) END) VIRTUAL",
    }


class UniqueIndex(JobIndex):
    """Jobs that were declared `unique` and have not ended: no two with one key.

    Whatever ends a job frees its key, by that alone. And nothing that happens to one that has not
    ended can meet another of its key.
    """

    columns = ("unique_key",)
    predicate = f"unique_key IS NOT NULL AND state IN ({sql_list(ALIVE)})"
    mysql_columns = ("dbq_unique_key",)
    mysql_virtual_columns = {
        "dbq_unique_key": f"varchar(64) GENERATED ALWAYS AS "
        f"(CASE WHEN state IN ({sql_list(ALIVE)}) THEN unique_key END) VIRTUAL",
    }
    kind = "UNIQUE INDEX"
