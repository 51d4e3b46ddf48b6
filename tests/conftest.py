"""What every test may rely on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests import databases


def pytest_report_header() -> str:
    kind = databases.chosen()
    if kind == "sqlite":
        return f"database: {kind}"
    if kind == "postgresql":
        return f"database: {kind}, driver: {databases.postgresql_driver()}"
    import MySQLdb

    return f"database: {kind}, driver: {MySQLdb.__name__}"


def pytest_unconfigure() -> None:
    """Remove what Django's teardown leaves of an SQLite database: its journal files."""
    for name in databases.this_run_names().values():
        for left in Path(tempfile.gettempdir()).glob(f"{name}.sqlite3*"):
            left.unlink()


@pytest.fixture(scope="session")
def database_kind() -> str:
    """sqlite, postgresql or mariadb."""
    return databases.chosen()


@pytest.fixture
def work():
    """Run the next due job of a queue to its next saved state, as often as asked."""

    from django_dbq.management.commands.worker import Worker  # not before Django is set up

    def work(times=1, queue="default"):
        worker = Worker(queue, 0)
        for _ in range(times):
            worker._process_job()

    return work
