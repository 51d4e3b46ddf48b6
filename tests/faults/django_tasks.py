"""Django tasks that these tests put through faults. Apart, because they need Django's Tasks API."""

from __future__ import annotations

import asyncio
import functools
import time

from django_dbq.task_backend import task
from tests.faults import journal
from tests.faults.tasks import a_run_of, wait_until_told, wait_until_told_async


def noted(function):
    """Note the start of each run, and its end if it lives to see it."""
    if asyncio.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run(*args, **kwargs):
            with a_run_of(journal.called.get()):
                return await function(*args, **kwargs)

    else:

        @functools.wraps(function)
        def run(*args, **kwargs):
            with a_run_of(journal.called.get()):
                return function(*args, **kwargs)

    return run


@task
@noted
def hold(answer):
    wait_until_told(journal.called.get())
    return answer


@task
@noted
async def hold_async(answer):
    await wait_until_told_async(journal.called.get())
    return answer


@task
@noted
def work(seconds):
    time.sleep(seconds)
    return seconds


@task
@noted
async def work_async(seconds):
    await asyncio.sleep(seconds)
    return seconds


@task(max_attempts=20, backoff=0.05, takes_context=True)  # the database may be away, too
@noted
async def flaky_async(context, failures):
    """Fail as often as that."""
    if journal.called.get().attempts <= failures:
        raise ConnectionError("the other side is away")
    return context.attempt
