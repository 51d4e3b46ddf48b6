"""Tasks that run in processes of their own. A file tells the test that they have begun."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime, timezone
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import transaction

from django_dbq.exceptions import JobInterruption
from tests.forks import end_forks_by_signals  # noqa: F401 (a task, by its path here)

ENDLESS_SECONDS = 600


def begin(job):
    """Write the process's id where the test looks for it."""
    file = Path(job.workspace["folder"], "begun")
    file.with_suffix(".tmp").write_text(str(os.getpid()))
    file.with_suffix(".tmp").rename(file)


def note_failure(job, exception):
    job.workspace["failure"] = type(exception).__name__
    job.workspace["failure_hook_ran_in"] = os.getpid()


def slow_hook(job, exception):
    time.sleep(1)
    note_failure(job, exception)


def tell_where(job):
    job.workspace["pid"] = os.getpid()


def tell_where_atomically(job):
    tell_where(job)
    type(job).objects.create(name="wait", queue_name="made_by_the_task")


def raise_error(job):
    raise LookupError("no such thing")


def wait(job):
    begin(job)
    time.sleep(ENDLESS_SECONDS)


wait_too_long = wait


def wait_and_tidy_up(job):
    try:
        wait(job)
    finally:
        Path(job.workspace["folder"], "tidied").touch()


def refuse_to_end(job):
    begin(job)
    while True:
        with contextlib.suppress(JobInterruption):
            time.sleep(ENDLESS_SECONDS)


async def block_the_loop(job):
    refuse_to_end(job)


def hold_the_gil(job):
    """One call that no Python code interrupts, and that lets no other thread run."""
    begin(job)
    re.match(r"(a+)+$", "a" * 64 + "b")


def die(job):
    begin(job)
    os.kill(os.getpid(), signal.SIGSEGV)


def die_and_die_of_the_hook(job):
    die(job)


def die_in_the_hook(job, exception):
    die(job)


def fork(job):
    pid = os.fork()
    if not pid:
        time.sleep(ENDLESS_SECONDS)
        os._exit(0)
    Path(job.workspace["folder"], "forked").write_text(str(pid))


def fork_and_die(job):
    fork(job)
    os.kill(os.getpid(), signal.SIGKILL)


def fork_and_exit(job):
    fork(job)
    os._exit(0)


def fork_and_wait(job):
    fork(job)
    begin(job)
    time.sleep(ENDLESS_SECONDS)


def exit_quietly(job):
    os._exit(0)


def leave_a_child(job):
    """Wait for a program, deaf to all that is raised here."""
    program = subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep({ENDLESS_SECONDS})"]
    )
    Path(job.workspace["folder"], "program").write_text(str(program.pid))
    refuse_to_end(job)


def take_time_in_the_hook(job):
    time.sleep(ENDLESS_SECONDS)


def close_everything(job):
    """What a library does that makes a daemon of its process."""
    os.closerange(3, 256)


def ignore_stop_signals(job):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        os.kill(os.getpid(), number)
    os.kill(os.getppid(), signal.SIGTERM)
    tell_where(job)


def return_json_that_cannot_be_pickled(job):
    class Word(str):
        __slots__ = ()

    job.workspace["counts"] = defaultdict(lambda: 0, a=1)
    job.workspace["word"] = job.queue_name = Word("here")
    return Word("there")


class UnpickledNowhere(datetime):
    def __reduce_ex__(self, protocol):
        return refuse, ()


def refuse():
    raise LookupError("not here")


class NeverPickled(datetime):
    def __reduce_ex__(self, protocol):
        raise TypeError("not me")


def return_what_cannot_be_pickled(job):
    job.run_after = NeverPickled.now(timezone.utc)


def return_what_cannot_be_unpickled(job):
    with Path(job.workspace["folder"], "runs").open("a") as file:
        file.write(".")
    job.run_after = UnpickledNowhere.now(timezone.utc)


async def leave_a_transaction_open(job):
    await sync_to_async(transaction.set_autocommit)(False)
    await type(job).objects.filter(pk=job.pk).aupdate(priority=9)
