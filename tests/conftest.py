"""What every test may rely on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests import databases


def pytest_report_header() -> str:
    kind = databases.chosen()
    if kind != "mariadb":
        return f"database: {kind}"
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
