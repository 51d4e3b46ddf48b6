"""Async tasks of jobs that run in worker processes. What they did stands in files."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from django.contrib.auth.models import User

from django_dbq.models import Job
from tests.processes.tasks import PATIENCE_SECONDS, note

present = 0


async def meet(job):
    """Wait until so many are here at the same time, in this process."""
    global present
    present += 1
    deadline = time.monotonic() + PATIENCE_SECONDS
    while present < job.workspace["count"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Only {present} came.")
        await asyncio.sleep(0.01)
    note(job)


async def hold_async(job):
    """Note it, and then go on when the test makes the file."""
    note(job)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not Path(job.workspace["folder"], "go-on").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("The test did not say that the task may go on.")
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        Path(job.workspace["folder"], f"tidied-{job.pk}").touch()
        raise


async def hold_with_timeout(job):
    await hold_async(job)


async def hold_isolated(job):
    await hold_async(job)


async def block(job):
    """Hold up the event loop, until the test makes the file."""
    note(job)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not Path(job.workspace["folder"], "go-on").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("The test did not say that the task may go on.")
        time.sleep(0.01)


async def block_too_long(job):
    """The first time."""
    note(job)
    first = Path(job.workspace["folder"], "blocked")
    if not first.exists():
        first.touch()
        time.sleep(PATIENCE_SECONDS)


async def use_database(job):
    await User.objects.acreate(username=f"of {job.pk}")
    names = [user.username async for user in User.objects.filter(username=f"of {job.pk}")]
    job.workspace["names"] = names
    await job.asave(update_fields=["workspace"])
    await Job.objects.aget(pk=job.pk)


async def with_hooks(job):
    job.workspace["steps"].append("task")
    if job.workspace.get("fails"):
        raise LookupError("no such thing")


def before(job):
    job.workspace["steps"].append(f"before, {User.objects.count()} users")


def after(job):
    job.workspace["steps"].append(f"after, {User.objects.count()} users")


def on_failure(job, error):
    job.workspace["steps"].append(f"{type(error).__name__}, {User.objects.count()} users")


async def note_async(job):
    note(job)


async def quickly(job):
    await asyncio.sleep(0)
