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
        "die_when_it_has_returned",
        "close_everything",
        "end_forks_by_signals",
        "square_in_a_pool",
        "enqueue_another",
    )
}
HERE = "tests.processes.tasks"
FORK = {"tasks": [f"{HERE}.fork_and_return"]}
JOBS["fork_atomically"] = {**FORK, "atomic": True}
JOBS["fork_isolated"] = {**FORK, "isolation": "process"}
JOBS["fork_before_a_hook"] = {**FORK, "post_task_hook": f"{HERE}.note"}
JOBS["fork_in_the_first_hook"] = {
    "tasks": [f"{HERE}.note"],
    "pre_task_hook": f"{HERE}.fork_and_return",
}
JOBS["fork_in_the_last_hook"] = {
    "tasks": [f"{HERE}.note"],
    "post_task_hook": f"{HERE}.fork_and_return",
}
JOBS["fork_and_raise"] = {
    "tasks": [f"{HERE}.fork_and_raise"],
    "failure_hook": f"{HERE}.note_failure",
}
JOBS["fork_async"] = {"tasks": [f"{HERE}.fork_and_return_async"]}
JOBS["fork_async_isolated"] = {**JOBS["fork_async"], "isolation": "process"}
JOBS["note_twice"] = {"tasks": ["tests.processes.tasks.note", "tests.processes.tasks.note"]}
ASYNC = "tests.processes.async_tasks"
JOBS |= {
    name: {"tasks": [f"{ASYNC}.{name}"]}
    for name in ("meet", "hold_async", "note_async", "block", "use_database", "quickly")
}
JOBS["hold_with_timeout"] = {"tasks": [f"{ASYNC}.hold_with_timeout"], "timeout": 0.5}
JOBS["hold_isolated"] = {
    "tasks": [f"{ASYNC}.hold_isolated"],
    "timeout": 0.5,
    "isolation": "process",
}
JOBS["block_too_long"] = {"tasks": [f"{ASYNC}.block_too_long"], "timeout": 0.5, "grace": 0.5}
JOBS["with_hooks"] = {
    "tasks": [f"{ASYNC}.with_hooks"],
    "pre_task_hook": f"{ASYNC}.before",
    "post_task_hook": f"{ASYNC}.after",
    "failure_hook": f"{ASYNC}.on_failure",
}

for given in os.environ.get("DBQ_TEST_NAMES", "").split(","):  # alias=name: databases not made yet
    if given:
        alias, _, name = given.partition("=")
        DATABASES[alias]["NAME"] = name  # noqa: F405
if os.environ.get("DBQ_TEST_PORT"):
    DATABASES["default"].update(HOST="127.0.0.1", PORT=os.environ["DBQ_TEST_PORT"])  # noqa: F405
    DATABASES["default"]["OPTIONS"] = {}  # noqa: F405 (no socket)
