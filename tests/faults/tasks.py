"""Tasks of the jobs that these tests put through faults. Each run is noted in the journal."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import resource
import signal
import time
from contextlib import contextmanager
from pathlib import Path

from django.contrib.auth.models import User
from django.db import connection

from tests.faults import history, journal

PATIENCE_SECONDS = 120


def noted(task):
    """Note the start of each run, and its end if it lives to see it."""
    if asyncio.iscoroutinefunction(task):

        @functools.wraps(task)
        async def run(job):
            with a_run_of(job):
                await task(job)

    else:

        @functools.wraps(task)
        def run(job):
            with a_run_of(job):
                task(job)

    return run


@contextmanager
def a_run_of(job):
    journal.write("start", job)
    try:
        yield
    except BaseException:
        journal.write("raised", job)
        raise
    journal.write("returned", job)


def looks(job, *, every_seconds):
    """Look for the file that lets all go on, or this claim of the job; time goes by in between."""
    names = ("go-on", f"go-on-{job.token}")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any((journal.folder() / name).exists() for name in names):
        if time.monotonic() > deadline:
            raise TimeoutError(f"The test made none of the files {names}.")
        yield every_seconds


def wait_until_told(job):
    for pause in looks(job, every_seconds=0.01):
        time.sleep(pause)


async def wait_until_told_async(job):
    for pause in looks(job, every_seconds=0.05):  # there may be hundreds
        await asyncio.sleep(pause)


@noted
def note(job):
    pass


@noted
def hold(job):
    """Go on when the test makes the file "go-on"."""
    wait_until_told(job)


@noted
def work(job):
    time.sleep(job.workspace.get("seconds", 0.01))


@noted
def grow(job):
    """Leave much in the workspace, which the outcome has to store."""
    job.workspace["ballast"] = os.urandom(job.workspace["bytes"] // 2).hex()


@noted
def flaky(job):
    """Fail as often as the workspace says."""
    if job.attempts <= job.workspace.get("failures", 2):
        raise ConnectionError("the other side is away")


@noted
def die(job):
    """What a segmentation fault, or the kernel short of memory, does to the process."""
    os.kill(os.getpid(), signal.SIGKILL)


@noted
def die_once(job):
    try:
        (journal.folder() / f"died-{job.pk}").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def told_of_failure(job, exception):
    (journal.folder() / f"failed-{job.pk}").write_text(f"{os.getpid()} {exception}")


@noted
def hog(job):
    """Ask for more memory than the process may have."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 64 * 2**20, before[1]))
    try:
        bytearray(512 * 2**20)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@noted
def hold_the_gil(job):
    """Sleep in C without letting go of the interpreter: no other thread of the process can run."""
    libc = ctypes.PyDLL(None)
    libc.usleep(int(job.workspace["seconds"] * 1_000_000))


@noted
def endless(job):
    """Will not end, whatever it is asked."""
    while True:
        try:
            while True:
                pass
        except BaseException:  # noqa: S112 (that is the point)
            continue


@noted
def atomic_effect(job):
    """Write to the database, in the transaction of the job."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {history.EFFECTS} (job, token) VALUES (%s, %s)", [str(job.pk), job.token]
        )
    if job.workspace.get("holds"):
        wait_until_told(job)
    time.sleep(job.workspace.get("seconds", 0))


# On the event loop


@noted
async def note_async(job):
    pass


@noted
async def hold_async(job):
    """Go on when the test makes the file "go-on"."""
    await wait_until_told_async(job)


@noted
async def work_async(job):
    await asyncio.sleep(job.workspace.get("seconds", 0.01))


@noted
async def flaky_async(job):
    """Fail as often as the workspace says."""
    if job.attempts <= job.workspace.get("failures", 2):
        raise ConnectionError("the other side is away")


@noted
async def ask_async(job):
    """Ask the database, by the one connection that all async tasks share."""
    for _ in range(job.workspace.get("times", 3)):
        await User.objects.filter(username=job.pk).aexists()
        await asyncio.sleep(job.workspace.get("seconds", 0))


@noted
async def die_once_async(job):
    die_once.__wrapped__(job)


@noted
async def block(job):
    """Let no other async task of the process run meanwhile, when it runs for the first time."""
    if job.token == 1:
        time.sleep(job.workspace["seconds"])


@noted
async def endless_async(job):
    """Block the event loop, and will not end, whatever it is asked."""
    endless.__wrapped__(job)


@noted
async def restless_async(job):
    """Will not end, whatever it is asked, and lets others run."""
    while True:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            continue
