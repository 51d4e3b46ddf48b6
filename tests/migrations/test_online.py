"""Migrations on a table in use: writers go on, and what was interrupted can be run again."""

from __future__ import annotations

import threading
import uuid
from importlib import import_module

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction

from tests.compat.rows import indexes, insert_row, raw_rows
from tests.compat.waiting import in_another_connection, wait_until

OURS = {"dbq_ready", "dbq_scheduled", "dbq_held", "dbq_unique"}
POSTGRESQL = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="only there an index is built CONCURRENTLY"
)


@pytest.fixture
def long_transaction(transactional_db):
    """Begin a transaction that writes to the job table and stays open; returns how to end it."""
    may_end, has_written = threading.Event(), threading.Event()

    def write_and_wait():
        try:
            with transaction.atomic():
                insert_row(name="noop", next_task="tests.project.tasks.noop")
                has_written.set()
                may_end.wait(60)
        finally:
            connections.close_all()

    thread = threading.Thread(target=write_and_wait)

    def begin():
        thread.start()
        assert has_written.wait(30)

    def end():
        may_end.set()
        if thread.is_alive():
            thread.join(30)

    yield begin, end
    end()


@pytest.fixture
def migrating(transactional_db):
    """Migrate in another connection, meanwhile; returns the thread and what it raised."""
    threads = []

    def migrating(target):
        errors = []

        def run():
            try:
                call_command("migrate", "django_dbq", target, verbosity=0, interactive=False)
            except Exception as error:
                errors.append(error)
            finally:
                connections.close_all()

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return threads[-1], errors

    yield migrating
    for thread in threads:
        thread.join(60)


def somebody_waits_for_the_long_transaction():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0


def write_without_waiting():
    """Insert and change a row; a lock that does not come within a second is an error."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '1s'")
        pk = insert_row(name="noop", next_task="tests.project.tasks.noop")
        cursor.execute("UPDATE django_dbq_job SET priority = 1 WHERE id = %s", [pk])
    return pk


def validity():
    """{index of the job table: whether it is valid}."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE indrelid = 'django_dbq_job'::regclass"
        )
        return dict(cursor.fetchall())


@POSTGRESQL
@pytest.mark.parametrize(("before", "target"), [("0007", "0008"), ("0008", "0009")])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_writers_go_on_while_indexes_are_built_and_dropped(
    migrate, migrating, long_transaction, before, target, direction
):
    if direction == "backward":
        before, target = target, before
    migrate(before)
    begin, end = long_transaction
    begin()
    thread, errors = migrating(target)
    wait_until(somebody_waits_for_the_long_transaction, "the migration waited", seconds=10)

    written = [write_without_waiting() for _ in range(3)]
    assert thread.is_alive()

    end()
    thread.join(30)
    assert not thread.is_alive()
    assert not errors
    assert {row["id"] for row in raw_rows()} >= set(written)
    assert all(validity().values())


@POSTGRESQL
def test_an_index_whose_building_broke_off_is_built_anew(migrate, long_transaction):
    migrate("0007")
    begin, end = long_transaction
    begin()

    def give_up_soon():
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        with pytest.raises(OperationalError):
            call_command("migrate", "django_dbq", "0008", verbosity=0, interactive=False)

    in_another_connection(give_up_soon)
    assert not all(validity().values())

    end()
    migrate("0008")
    assert set(validity()) >= OURS
    assert all(validity().values())


class Interrupted(Exception):
    """The migration's process was killed."""


def interrupt_at(number):
    """Let so many statements that change the schema pass, and stop the next."""
    passed = []

    def wrapper(execute, sql, params, many, context):
        if str(sql).startswith(("CREATE INDEX", "ALTER TABLE", "DROP INDEX")):
            if len(passed) == number:
                raise Interrupted(sql)
            passed.append(sql)
        return execute(sql, params, many, context)

    return connection.execute_wrapper(wrapper)


@pytest.mark.parametrize(("before", "target"), [("0007", "0008"), ("0008", "0009")])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_migration_that_was_interrupted_anywhere_can_be_run_again(
    migrate, before, target, direction
):
    if direction == "backward":
        before, target = target, before
    migrate(before)
    migrate(target)
    expected = indexes()

    for number in range(100):
        migrate(before)
        try:
            with interrupt_at(number):
                migrate(target)
        except Interrupted:
            migrate(target)
        else:
            break
        assert indexes() == expected, f"after an interruption at statement {number}"
    assert number >= 3


def test_the_latest_schema_has_our_indexes_and_none_of_those_of_3_3(migrate):
    assert set(indexes()) - {name for name in indexes() if name.startswith("PRIMARY")} == OURS


def test_columns_that_3_3_does_not_name_get_their_values_from_the_database(migrate):
    pk = insert_row(name="noop", next_task="tests.project.tasks.noop")
    with connection.cursor() as cursor:
        cursor.execute("SELECT token, attempts, crashes, gate, worker_id FROM django_dbq_job")
        assert list(cursor.fetchall()) == [(0, 0, 0, None, None)]
    assert isinstance(pk, uuid.UUID)


@POSTGRESQL
def test_0007_gives_up_rather_than_make_everybody_wait_behind_a_long_transaction(
    migrate, migrating, long_transaction, monkeypatch
):
    begin, end = long_transaction
    first = import_module("django_dbq.migrations.0007_workers_attempts_and_columns")
    monkeypatch.setattr(first.Migration.operations[0], "seconds", 1)
    migrate("0006")
    begin()

    thread, errors = migrating("0007")
    thread.join(30)

    assert [type(error) for error in errors] == [OperationalError]
    assert "lock timeout" in str(errors[0])
    end()
    migrate("0007")
    assert "token" in {column.name for column in columns_of_the_job_table()}


def columns_of_the_job_table():
    with connection.cursor() as cursor:
        return connection.introspection.get_table_description(cursor, "django_dbq_job")
