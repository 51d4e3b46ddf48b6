"""PostgreSQL's older driver, which notifies in a way of its own.

Django takes one driver for a process: these tests run in another one.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="a driver of PostgreSQL"),
    pytest.mark.skipif(not importlib.util.find_spec("psycopg2"), reason="it is not installed"),
]

ROOT = Path(__file__).resolve().parents[2]
ABOUT_WAITING = (
    "tests/engines/test_endings.py",
    "tests/processes/test_waiting.py",
)


def test_with_psycopg2_who_waits_is_notified_as_with_psycopg_3():
    variables = {**os.environ, "DBQ_TEST_DRIVER": "psycopg2"}
    del variables["DBQ_TEST_RUN"]  # it makes databases of its own
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ABOUT_WAITING],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )

    assert "driver: psycopg2" in done.stdout
    assert done.returncode == 0, done.stdout
