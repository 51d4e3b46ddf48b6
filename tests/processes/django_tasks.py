"""Django tasks that run in worker processes. Apart, because they need Django's Tasks API."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from django.contrib.auth.models import User

from django_dbq.task_backend import HOME, task
from tests.compat.waiting import wait_until
from tests.processes.tasks import PATIENCE_SECONDS

present = 0


@HOME.tasks.task
def add(first, second):
    return first + second


@HOME.tasks.task(takes_context=True)
def kill_own_process_at_first(context, folder):
    """Die with the process, the first time; then tell how many attempts there have been."""
    mark = Path(folder, "died")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return context.attempt


@task(timeout=0.3)
def sleep_too_long():
    time.sleep(30)


@task(isolation="process")
def tell_process():
    return os.getpid()


@task(isolation="process")
def take_all(names):
    taken = []
    while names:
        taken.append(names.pop())
    return taken


@HOME.tasks.task
async def meet(count):
    """Wait until so many are here at the same time, in this process; who came how late."""
    global present
    present += 1
    place, deadline = present, time.monotonic() + PATIENCE_SECONDS
    while present < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Only {present} came.")
        await asyncio.sleep(0.01)
    return place


@HOME.tasks.task(takes_context=True)
async def make_user(context):
    user = await User.objects.acreate(username=context.task_result.id)
    return user.username


@task(takes_context=True)
def stop_half_way(context, folder):
    """Tell that half is done, and wait for a file before the rest."""
    context.metadata["done"] = 50
    context.save_metadata()
    wait_until(Path(folder, "go on").exists, "the test let it go on", seconds=PATIENCE_SECONDS)
    context.metadata["done"] = 100


@task(takes_context=True, isolation="process")
def stop_half_way_isolated(context, folder):
    stop_half_way.func(context, folder)


@task(takes_context=True)
async def stop_half_way_async(context, folder):
    context.metadata["done"] = 50
    await context.asave_metadata()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not Path(folder, "go on").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("The test did not let it go on.")
        await asyncio.sleep(0.01)
    context.metadata["done"] = 100


@HOME.tasks.task(takes_context=True)
def die_half_way(context):
    """Die with the process when the first half is saved; go on from there."""
    if context.metadata.get("done") != 50:
        context.metadata["done"] = 50
        context.save_metadata()
        os.kill(os.getpid(), signal.SIGKILL)
    context.metadata["done"] = 100
