"""The settings of the processes in which isolated tasks run; they do not see a test's patches."""

from __future__ import annotations

from tests.project.settings import *  # noqa: F403

TASKS = "tests.worker.isolated_tasks"

OPTIONS: dict[str, dict[str, object]] = {
    "tell_where": {},
    "tell_where_atomically": {"atomic": True},
    "raise_error": {"failure_hook": f"{TASKS}.note_failure"},
    "wait": {},
    "wait_and_tidy_up": {},
    "wait_too_long": {"timeout": 0.3, "failure_hook": f"{TASKS}.note_failure"},
    "refuse_to_end": {"timeout": 0.3, "grace": 0.3, "failure_hook": f"{TASKS}.note_failure"},
    "hold_the_gil": {"grace": 0.3},
    "block_the_loop": {"timeout": 0.3, "grace": 0.3, "failure_hook": f"{TASKS}.note_failure"},
    "die": {},
    "die_and_die_of_the_hook": {"failure_hook": f"{TASKS}.die_in_the_hook"},
    "exit_quietly": {},
    "fork_and_die": {},
    "fork_and_exit": {},
    "fork_and_wait": {"timeout": 0.3},
    "end_forks_by_signals": {},
    "leave_a_child": {"timeout": 0.3, "grace": 0.3},
    "take_time_in_the_hook": {
        "timeout": 0.2,
        "grace": 0.1,
        "failure_hook": f"{TASKS}.slow_hook",
    },
    "close_everything": {},
    "ignore_stop_signals": {},
    "return_json_that_cannot_be_pickled": {},
    "return_what_cannot_be_pickled": {},
    "return_what_cannot_be_unpickled": {},
    "leave_a_transaction_open": {},
}

JOBS = {
    name: {"tasks": [f"{TASKS}.{name}"], "isolation": "process", **options}
    for name, options in OPTIONS.items()
}
JOBS["suspect"] = {"tasks": [f"{TASKS}.tell_where"]}  # in a thread, by itself
