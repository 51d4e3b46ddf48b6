"""Schema changes that a table of millions of jobs survives while it is in use.

The files of Django's loader begin with a letter; this one does not, so it is no migration.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.db.migrations.operations.base import Operation


class WaitForLocksAtMost(Operation):
    """On PostgreSQL, give up and change nothing when a lock of this migration does not come soon.

    A statement that waits for ACCESS EXCLUSIVE behind a long transaction makes everybody else wait
    behind itself. Better to fail, and to be run again at a quieter moment.
    """

    reversible = True

    def __init__(self, *, seconds: int) -> None:
        self.seconds = seconds

    def state_forwards(self, app_label: str, state: Any) -> None:
        pass

    def database_forwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        if editor.connection.vendor == "postgresql":
            editor.execute(f"SET LOCAL lock_timeout = '{int(self.seconds)}s'")

    def database_backwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        self.database_forwards(app_label, editor, old, new)

    def describe(self) -> str:
        return f"Wait for locks {self.seconds} seconds at most"


class AddFieldWithDatabaseDefault(migrations.AddField):
    """Add a NOT NULL column whose default stays in the database.

    3.3 processes and raw SQL insert without naming the column. (Django's own `db_default` needs
    5.0, and Django drops the default of a plain `default=` once the column is there.)

    Locks: instant on PostgreSQL 11+, MariaDB and MySQL 8, and no rebuild of the table on SQLite.
    """

    def database_forwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        model = new.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(editor.connection.alias, model):
            return
        field = model._meta.get_field(self.name)
        editor.execute(
            f"ALTER TABLE {editor.quote_name(model._meta.db_table)} "
            f"ADD COLUMN {editor.quote_name(field.column)} {field.db_type(editor.connection)} "
            f"DEFAULT {int(field.default)} NOT NULL"
        )

    def database_backwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        drop_column(self, app_label, editor, old)


class AddNullableField(migrations.AddField):
    """Add a column that may be NULL; backwards it is dropped without rebuilding SQLite's table.

    A rebuild would take the other columns' database defaults with it.
    """

    def database_backwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        drop_column(self, app_label, editor, old)


def drop_column(operation: migrations.AddField, app_label: str, editor: Any, old: Any) -> None:
    model = old.apps.get_model(app_label, operation.model_name)
    if operation.allow_migrate_model(editor.connection.alias, model):
        column = model._meta.get_field(operation.name).column
        editor.execute(
            f"ALTER TABLE {editor.quote_name(model._meta.db_table)} "
            f"DROP COLUMN {editor.quote_name(column)}"
        )


class WidenField(migrations.AlterField):
    """Let a text column hold more characters than before.

    Locks: PostgreSQL changes its catalogue alone; MariaDB and MySQL do it in place, as long as the
    bytes that a value's length takes stay as many: up to 63 characters, or from 64 on. SQLite holds
    texts of any length in any column, and so has nothing to do.
    """

    def database_forwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        if editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, editor, old, new)

    def database_backwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        self.database_forwards(app_label, editor, old, new)


class AddIndexOnline(migrations.AddIndex):
    """Build one of the job table's own indexes without blocking writers.

    Locks: CONCURRENTLY on PostgreSQL (an invalid leftover of an interrupted build is replaced);
    online on MariaDB and MySQL; SQLite has one writer, who waits while the index is built.
    """

    atomic = False

    def database_forwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        model = new.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(editor.connection.alias, model):
            return
        if editor.connection.vendor == "postgresql":
            self._drop_invalid(editor)
        if self.index.name in index_names(model, editor):  # an interrupted run has built it
            return
        if editor.connection.vendor == "postgresql":
            editor.add_index(model, self.index, concurrently=True)
        elif editor.connection.vendor == "mysql":
            present = column_names(model, editor)
            for statement in self.index.mysql_statements(model, editor, present=present):
                editor.execute(statement)
        else:
            editor.add_index(model, self.index)

    def _drop_invalid(self, editor: Any) -> None:
        with editor.connection.cursor() as cursor:
            cursor.execute(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)",
                [editor.quote_name(self.index.name)],
            )
            found = cursor.fetchone()
        if found == (False,):
            editor.execute(f"DROP INDEX CONCURRENTLY {editor.quote_name(self.index.name)}")

    def database_backwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        model = old.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(editor.connection.alias, model):
            return
        if editor.connection.vendor == "postgresql":
            editor.remove_index(model, self.index, concurrently=True)
            return
        if self.index.name in index_names(model, editor):
            editor.remove_index(model, self.index)
        if editor.connection.vendor == "mysql":
            present = column_names(model, editor)
            for column in filter(present.__contains__, self.index.mysql_virtual_columns):
                editor.execute(
                    f"ALTER TABLE {editor.quote_name(model._meta.db_table)} "
                    f"DROP COLUMN {editor.quote_name(column)}"
                )


def index_names(model: Any, editor: Any) -> set[str]:
    """The indexes that the model's table has."""
    with editor.connection.cursor() as cursor:
        table = model._meta.db_table
        return set(editor.connection.introspection.get_constraints(cursor, table))


def column_names(model: Any, editor: Any) -> set[str]:
    """The columns that the model's table has, virtual ones among them."""
    with editor.connection.cursor() as cursor:
        table = model._meta.db_table
        description = editor.connection.introspection.get_table_description(cursor, table)
        return {column.name for column in description}


class DropFieldIndexOnline(migrations.AlterField):
    """Drop the index (on PostgreSQL also the LIKE index) that 3.3 kept on a single column.

    Locks: CONCURRENTLY on PostgreSQL, in both directions; online on MariaDB and MySQL; no rebuild
    of the table on SQLite.
    """

    atomic = False

    def database_forwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        model = old.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(editor.connection.alias, model):
            return
        column = model._meta.get_field(self.name).column
        concurrently = "CONCURRENTLY " if editor.connection.vendor == "postgresql" else ""
        on_table = (
            f" ON {editor.quote_name(model._meta.db_table)}"
            if editor.connection.vendor == "mysql"
            else ""
        )
        for name in editor._constraint_names(model, [column], index=True):
            editor.execute(f"DROP INDEX {concurrently}{editor.quote_name(name)}{on_table}")

    def database_backwards(self, app_label: str, editor: Any, old: Any, new: Any) -> None:
        model = new.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(editor.connection.alias, model):
            return
        self.database_forwards(app_label, editor, old, new)  # what an interrupted run has left
        field = model._meta.get_field(self.name)
        if editor.connection.vendor != "postgresql":
            editor.execute(editor._create_index_sql(model, fields=[field]))
            return
        editor.execute(editor._create_index_sql(model, fields=[field], concurrently=True))
        if (field.db_type(editor.connection) or "").startswith("varchar"):
            editor.execute(
                editor._create_index_sql(
                    model,
                    fields=[field],
                    suffix="_like",
                    opclasses=["varchar_pattern_ops"],
                    concurrently=True,
                )
            )
