"""Tasks and hooks of the compatibility tests.

A test that runs its jobs in this process writes its own functions and puts them here with the
`declare` fixture. The functions below are for jobs that run in a worker process of their own: they
talk to the test through the job's workspace and through files in a folder named there.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

PATIENCE_SECONDS = 60


class Broken(Exception):
    """What a task or hook of these tests raises when it is meant to fail."""


def nothing(job):
    """A task that has nothing to do."""


def also_nothing(job):
    """Another one, for jobs of two different tasks."""


def note(job):
    """Write down, as one line, that a task of this job ran here and now."""
    line = {"job": str(job.pk), "pid": os.getpid(), "label": job.workspace.get("label")}
    line["time"] = time.time()
    # One write of a short line to a file opened for appending is not torn apart by other processes.
    with Path(job.workspace["folder"], "notes").open("a") as file:
        file.write(json.dumps(line) + "\n")


def note_again(job):
    """The same under another name, for jobs of two tasks."""
    note(job)


def hold(job):
    """Say that the task has begun, and go on when the test says so."""
    note(job)
    folder = Path(job.workspace["folder"])
    (folder / f"begun-{job.pk}").touch()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (folder / "go-on").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("The test did not say that the task may go on.")
        time.sleep(0.01)
    job.workspace["held"] = True


def hold_and_break(job):
    """The same, and then fail."""
    hold(job)
    raise Broken("after holding")


def break_down(job):
    """Fail."""
    raise Broken("in the worker process")


def stop_own_worker(job):
    """Ask the process that runs this task to exit, as an operator would, and end well."""
    note(job)
    os.kill(os.getpid(), signal.SIGTERM)


def note_creator(job):
    """A creation hook: remember which processes it ran in."""
    job.workspace.setdefault("creators", []).append(os.getpid())


def note_failure(job, exception):
    """A failure hook: remember what was raised, and where."""
    job.workspace["failure"] = [type(exception).__name__, str(exception), os.getpid()]


def note_before(job):
    """A pre-task hook: remember the process."""
    job.workspace.setdefault("before", []).append(os.getpid())


def note_after(job):
    """A post-task hook: remember the process."""
    job.workspace.setdefault("after", []).append(os.getpid())
