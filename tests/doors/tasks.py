"""Django tasks, declared by whichever home of the Tasks API this Django has."""

from __future__ import annotations

import asyncio
import math
import os
import threading

from django.db import connection
from django.db.models import F

from django_dbq.exceptions import Cancel, Fail, JobInterrupted, LeaseLost, Snooze
from django_dbq.task_backend import HOME, task

plain_task = HOME.tasks.task

calls: list[object] = []


@plain_task
def noop(*args, **kwargs):
    calls.append((args, kwargs))


@plain_task
def add(first, second=0):
    return first + second


@plain_task
async def add_async(first, second=0):
    return first + second


@plain_task(takes_context=True)
def tell_context(context, greeting):
    return {
        "greeting": greeting,
        "attempt": context.attempt,
        "id": context.task_result.id,
        "status": str(context.task_result.status),
        "workers": len(context.task_result.worker_ids),
    }


@plain_task
def fail():
    raise ValueError("no luck today")


@plain_task
def leave():
    raise SystemExit(3)


@plain_task
def return_what_is_no_json():
    return threading.Lock()


@plain_task(priority=10, queue_name="mail")
def send_mail(to):
    return f"sent to {to}"


@task(max_attempts=3, backoff=0)
def fail_until_third():
    calls.append("try")
    if len(calls) < 3:
        raise OSError(f"try {len(calls)}")
    return len(calls)


def wait_by_error(exception, task_result):
    calls.append((str(exception), task_result.attempts))
    return 0 if task_result.attempts < 2 else None


@task(max_attempts=9, backoff=wait_by_error)
def fail_as_long_as_told():
    raise OSError("again")


@task(atomic=True, timeout=30)
def write_in_transaction(name):
    from django.contrib.auth.models import User

    User.objects.create(username=name)
    return name


@plain_task
def return_it(value):
    return value


def answer(job):
    """A task of settings.JOBS."""
    value = job.workspace["value"]
    return object() if value == "no json" else value


def not_a_task():
    os.environ["NOT_A_TASK_RAN"] = "yes"


@plain_task(takes_context=True)
async def tell_context_async(context, greeting):
    await asyncio.sleep(0)
    return {"greeting": greeting, "attempt": context.attempt, "id": context.task_result.id}


@plain_task
async def return_what_is_no_json_async():
    return threading.Lock()


@task(max_attempts=3, backoff=0)
async def fail_until_third_async():
    calls.append("try")
    if len(calls) < 3:
        raise OSError(f"try {len(calls)}")
    return len(calls)


@task(max_attempts=3, backoff=0, takes_context=True)
async def tell_errors_at_third_async(context):
    if context.attempt < 3:
        raise OSError(f"try {context.attempt}")
    return [error.exception_class_path for error in context.task_result.errors]


@task(timeout=0.05)
async def wait_too_long_async():
    try:
        await asyncio.sleep(300)
    finally:
        calls.append("finally")


async def not_atomic():
    calls.append("ran")


@task(unique=True)
def rebuild(what, full=False):
    return what


@task(unique="account", takes_context=True)
def sync_account(context, account, since=None):
    return account


@task(unique=True)
def count_places(place, /, **kwargs):
    return kwargs


@task(unique=["kind"])
def note_unique(*args, **kwargs):
    return kwargs


# Metadata

ENDS = {
    "fail": OSError("no luck today"),
    "give up": Fail("no more tries"),
    "snooze": Snooze(0),
    "cancel": Cancel("not wanted"),
    "be interrupted": JobInterrupted(),
}
BAD = {
    "reserved": {"_key": 1},
    "a number": {1: 2},
    "no json": {"key": object()},
    "nan": {"key": math.nan},
}


@plain_task(takes_context=True)
def tell_metadata(context):
    return context.metadata


@task(takes_context=True, max_attempts=2, backoff=0)
def count_tries(context, then="return"):
    """Count them in the metadata, and end as told."""
    context.metadata["tries"] = context.metadata.get("tries", 0) + 1
    if then in ENDS:
        raise ENDS[then]


@task(takes_context=True, max_attempts=2, backoff=0, atomic=True)
def count_tries_atomically(context, then="return"):
    context.metadata["tries"] = context.metadata.get("tries", 0) + 1
    context.save_metadata()
    if then in ENDS:
        raise ENDS[then]


@task(takes_context=True, max_attempts=2, backoff=0)
async def count_tries_async(context, then="return"):
    context.metadata["tries"] = context.metadata.get("tries", 0) + 1
    if then in ENDS:
        raise ENDS[then]


@task(takes_context=True, max_attempts=2, backoff=0)
def clear_metadata(context):
    context.metadata.clear()


@plain_task(takes_context=True)
def save_progress(context, steps):
    for done in range(1, steps + 1):
        context.metadata["done"] = done
        context.save_metadata()


@plain_task(takes_context=True)
async def save_progress_async(context, steps):
    for done in range(1, steps + 1):
        context.metadata["done"] = done
        await context.asave_metadata()


@plain_task(takes_context=True)
def show_progress(context, steps):
    """Note after each step what others see of it."""
    for done in range(1, steps + 1):
        context.metadata["done"] = done
        context.save_metadata()
        calls.append(show_progress.get_result(context.task_result.id).metadata)


@plain_task(takes_context=True)
async def show_progress_async(context, steps):
    for done in range(1, steps + 1):
        context.metadata["done"] = done
        await context.asave_metadata()
        calls.append((await show_progress_async.aget_result(context.task_result.id)).metadata)


@plain_task(takes_context=True)
def save_what_is_not_ours(context):
    from django_dbq.models import Job

    Job.objects.filter(pk=context.task_result.id).update(token=F("token") + 1)
    context.metadata["mine"] = True
    try:
        context.save_metadata()
    except LeaseLost as error:
        calls.append(error)


@task(takes_context=True, max_attempts=2, backoff=0)
def save_and_change_back(context):
    before = dict(context.metadata)
    context.metadata["done"] = 50
    context.save_metadata()
    context.metadata.update(before)
    raise OSError("no luck today")


@plain_task(takes_context=True)
def keep_bad_metadata(context, what, then="return"):
    context.metadata.update(good=1)
    context.save_metadata()
    context.metadata.update(BAD[what])
    if then == "save":
        context.save_metadata()
    if then in ENDS:
        raise ENDS[then]


@plain_task(takes_context=True)
def change_arguments(context, numbers):
    numbers.append(4)
    context.metadata["changed"] = True


# Attempts after the first


@task(max_attempts=5, backoff=0)
def lose_connection(fails):
    connection.ensure_connection()
    connection.connection.close()
    if fails:
        raise OSError("the network is down")


@task(max_attempts=3, backoff=0, takes_context=True)
async def tell_attempt_async(context):
    if context.attempt < 3:
        raise OSError(f"try {context.attempt}")
    return context.attempt


@task(backoff=0)
def fail_with_backoff_alone():
    raise OSError("never")


@task(max_attempts=2, backoff=60)
def return_what_some_database_refuses(text):
    return {"nul": "a\0b", "half": "lone \ud800"}[text]
