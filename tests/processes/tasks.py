"""Tasks of jobs that run in worker processes. What they did stands in files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

from django_dbq import queue
from django_dbq.worker.acknowledger import Acknowledger
from tests.forks import end_forks_by_signals  # noqa: F401 (a task, by its path here)

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


def die_when_it_has_returned(job):
    """As one does that leaves a thread behind which crashes: before its outcome can be written."""
    note(job)
    Acknowledger.add = lambda *_: os.kill(os.getpid(), signal.SIGSEGV)


def close_everything(job):
    """What a library does that makes a daemon of its process."""
    note(job)
    os.closerange(3, 200)


def fork_and_return(job):
    """As a task does whose author has forgotten that a fork has two ends."""
    if os.fork():
        note(job)


def fork_and_raise(job):
    if not os.fork():
        raise LookupError
    note(job)


async def fork_and_return_async(job):
    fork_and_return(job)


def note_failure(job, exception):
    note(job)


def square_in_a_pool(job):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.apply_async(time.sleep, [PATIENCE_SECONDS])  # the end of the pool ends this too
        job.workspace["squares"] = pool.map(square, [1, 2, 3])


def square(number):
    return number**2


def enqueue_another(job):
    note(job)
    queue.enqueue("note", job.workspace)
