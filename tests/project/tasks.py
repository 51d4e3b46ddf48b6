"""Tasks and hooks for the jobs of tests/project/settings.py."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from django.db import connection, transaction

# A task that waits gives up after this long, so that a lost test leaves no process behind.
WAIT_SECONDS = 60


def note(job, text):
    """Append to the list "log" of the workspace: what the tests look at afterwards."""
    job.workspace.setdefault("log", []).append(text)


def noop(job):
    pass


def append_first(job):
    note(job, "first")


def append_second(job):
    note(job, "second")


def append_third(job):
    note(job, "third")


def fail(job):
    note(job, "about to fail")
    raise ValueError("this task always fails")


class NotEvenAnException(BaseException):
    """Raised where `except Exception` would not notice."""


def raise_base_exception(job):
    raise NotEvenAnException("this is no Exception")


def exit_process(job):
    sys.exit(3)


def close_connection(job):
    connection.close()


def leave_transaction_open(job):
    transaction.set_autocommit(False)
    job.__class__.objects.filter(pk=job.pk).exists()


def break_transaction(job):
    """Leave behind a transaction in which PostgreSQL refuses every further statement."""
    transaction.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column FROM django_dbq_job")


def delete_own_job(job):
    job.__class__.objects.filter(pk=job.pk).delete()


def wait_for_file(job):
    """Make the file workspace["started"], then wait until workspace["go_on"] exists."""
    Path(job.workspace["started"]).touch()
    deadline = time.monotonic() + WAIT_SECONDS
    while not Path(job.workspace["go_on"]).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job.workspace['go_on']} did not appear")
        time.sleep(0.02)
    note(job, "went on")


def creation_hook(job):
    note(job, "creation hook")


def pre_task_hook(job):
    note(job, "pre-task hook")


def post_task_hook(job):
    note(job, "post-task hook")


def failure_hook(job, exception):
    note(job, f"failure hook: {type(exception).__name__}: {exception}")
