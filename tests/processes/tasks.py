"""Tasks of jobs that run in worker processes. What they did stands in files."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from django_dbq import queue

PATIENCE_SECONDS = 60


def note(job):
    """Append a line: this job ran, in this process. The file tells what ran, and how often."""
    # One write of a short line to a file opened for appending is not torn apart by other processes.
    with Path(job.workspace["folder"], "ran").open("a") as file:
        file.write(f"{job.pk} {os.getpid()} {job.queue_name}\n")


def note_slowly(job):
    time.sleep(0.002)
    note(job)


def hold(job):
    """Note it, and then go on when the test makes the file."""
    note(job)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not Path(job.workspace["folder"], "go-on").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("The test did not say that the task may go on.")
        time.sleep(0.01)


def leave_quietly(job):
    """End the process as if all were done, the first time."""
    note(job)
    first = Path(job.workspace["folder"], "left")
    if not first.exists():
        first.touch()
        os._exit(0)


def kill_own_process(job):
    """Die with the process, the first time."""
    note(job)
    first = Path(job.workspace["folder"], "killed")
    if not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def fork_and_return(job):
    """As a task does whose author has forgotten that a fork has two ends."""
    if os.fork():
        note(job)


def enqueue_another(job):
    note(job)
    queue.enqueue("note", job.workspace)
