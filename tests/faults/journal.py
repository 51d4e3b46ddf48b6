"""What ran: a file to which each run of a task appends when it starts and when it ends.

A file and not a table. It has to be written while the database is away, full, read-only or locked,
and what a killed process has written to it stays. What is written to the jobs is witnessed in the
database itself: history.py.
"""

from __future__ import annotations

import json
import os
import time
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

FOLDER_VARIABLE = "DBQ_FAULTS_FOLDER"

called = ContextVar("dbq_faults_called")
"""The job of a Django task, which is not told of it: injection.py tells it."""


def folder():
    """Where the tasks of this process find their test's files."""
    return Path(os.environ[FOLDER_VARIABLE])


def write(event, job):
    """Append a line. CLOCK_MONOTONIC is the same for all processes of a host."""
    line = {
        "event": event,
        "job": str(job.pk),
        "task": job.next_task.rpartition(".")[2],
        "place": job.task_index or 0,
        "token": job.token,
        "pid": os.getpid(),
        "worker": job.worker_id,
        "at": time.monotonic(),
    }
    # One write of a short line to a file opened for appending is not torn apart by other processes.
    with (folder() / "journal").open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


@dataclass
class Run:
    """One run of a task. Without an end it was cut off, or goes on."""

    job: str
    task: str
    place: int
    token: int
    pid: int
    worker: int | None
    started: float
    ended: float | None = None
    returned: bool = False


def read(where):
    """All runs that are noted in this folder, in the order in which they started."""
    file = Path(where, "journal")
    text = file.read_text() if file.exists() else ""
    runs, by_claim = [], {}
    for line in text[: text.rfind("\n") + 1].splitlines():  # of the last one, half may be there
        noted = json.loads(line)
        event, at = noted.pop("event"), noted.pop("at")
        key = (noted["job"], noted["token"], noted["pid"])
        if event == "start":
            run = by_claim[key] = Run(**noted, started=at)
            runs.append(run)
        else:
            by_claim[key].ended, by_claim[key].returned = at, event == "returned"
    return runs
