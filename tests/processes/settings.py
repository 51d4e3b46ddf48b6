"""The settings of the worker processes that these tests start: on the tests' databases."""

from __future__ import annotations

import json
import os

from tests.project.settings import *  # noqa: F403

DBQ = {"LEASE": float(os.environ.get("DBQ_TEST_LEASE", "2")), "RATE_LIMIT": 0}
DBQ["RETENTION"] = json.loads(os.environ.get("DBQ_TEST_RETENTION", "null"))

JOBS = {
    name: {"tasks": [f"tests.processes.tasks.{name}"]}
    for name in (
        "note",
        "hold",
        "kill_own_process",
        "leave_quietly",
        "note_slowly",
        "fork_and_return",
        "enqueue_another",
    )
}
JOBS["note_twice"] = {"tasks": ["tests.processes.tasks.note", "tests.processes.tasks.note"]}

for given in os.environ.get("DBQ_TEST_NAMES", "").split(","):  # alias=name: databases not made yet
    if given:
        alias, _, name = given.partition("=")
        DATABASES[alias]["NAME"] = name  # noqa: F405
if os.environ.get("DBQ_TEST_PORT"):
    DATABASES["default"].update(HOST="127.0.0.1", PORT=os.environ["DBQ_TEST_PORT"])  # noqa: F405
    DATABASES["default"]["OPTIONS"] = {}  # noqa: F405 (no socket)
