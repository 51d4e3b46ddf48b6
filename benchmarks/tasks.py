"""The tasks of the measured jobs. They do next to nothing: what is left is the queue's cost."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from django_dbq.models import Job


def noop(job: Job) -> None:
    pass


def noop_too(job: Job) -> None:
    pass


def noop_as_well(job: Job) -> None:
    pass


def change_workspace(job: Job) -> None:
    job.workspace["answer"] = str(job.pk)  # another one for each job: no two rows are written alike


async def wait(job: Job) -> None:
    await asyncio.sleep(0.1)


async def wait_for_nothing(job: Job) -> None:
    pass


def meet(job: Job) -> None:
    """Wait for the other worker: each runs one of these, and both set out together."""
    directory = Path(job.workspace["directory"])
    Path(directory, str(os.getpid())).touch()
    deadline = time.monotonic() + 30
    while len(list(directory.iterdir())) < job.workspace["workers"]:
        if time.monotonic() > deadline:
            raise TimeoutError("the other worker did not come")
        time.sleep(0.01)


def stamp(job: Job) -> None:
    """Leave a line with the job's id and the time at which we were called."""
    now = time.monotonic()
    file = os.open(job.workspace["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{job.pk} {now}\n".encode())
    finally:
        os.close(file)


def sign(job: Job) -> None:
    """Leave a line with the job's id and our own, in a file that all workers append to."""
    file = os.open(job.workspace["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{job.pk} {os.getpid()}\n".encode())  # short, so it arrives in one piece
    finally:
        os.close(file)
