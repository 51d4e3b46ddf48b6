"""Jobs for the tests of `django_dbq.testing`: each has its entry in JOBS below."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from django_dbq.exceptions import Cancel, Retry, Snooze
from django_dbq.models import Job

calls: list[object] = []


def note(job):
    calls.append(job.workspace.get("n"))
    job.workspace["noted"] = True


def note_hook(job, *error):
    calls.append(f"hook of {job.name}")


def fail(job):
    raise ValueError("no luck today")


def fail_twice(job):
    calls.append(job.attempts)
    if job.attempts < 3:
        raise OSError(f"try {job.attempts}")


def ask_for_another_try(job):
    calls.append(job.attempts)
    if job.attempts < 2:
        raise Retry("not yet", after=60)


def fail_in_the_causing_way(job):
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise ValueError("the effect") from error


def enqueue_child(job):
    Job.objects.create(name="note", workspace={"n": "child"}, queue_name="children")


def enqueue_itself(job):
    calls.append("again")
    Job.objects.create(name="endless")


def enqueue_itself_in_an_hour(job):
    calls.append(timezone.now())
    Job.objects.create(name="hourly", run_after=timezone.now() + timedelta(hours=1))


def snooze_once(job):
    calls.append(timezone.now())
    if not job.workspace.get("has_slept"):
        job.workspace["has_slept"] = True
        raise Snooze(timedelta(days=2))


def set_what_is_refused(job):
    job.priority = 2**70


def call_off(job):
    raise Cancel("the order is gone")


def interrupt(job):
    raise KeyboardInterrupt


def put_a_lock_in(job):
    job.workspace["lock"] = object()


def delete_itself(job):
    Job.objects.filter(pk=job.pk).delete()


def add_same_user_twice(job):
    User.objects.create(username="once")
    User.objects.create(username="once")


def add_user_and_fail(job):
    User.objects.create(username="stays")
    raise ValueError("after the user")


def send_bad_sql(job):
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column FROM django_dbq_job")


def break_in_a_hook(job, *error):
    User.objects.create(username=None)


def swallow_an_error(job):
    try:
        User.objects.create(username=None)
    except DatabaseError:
        calls.append("swallowed")


def write_durably(job):
    with transaction.atomic(durable=True):
        calls.append("durable")


def run_on_commit(job):
    transaction.on_commit(lambda: calls.append("committed"))


HERE = "tests.doors.chores"

JOBS = {
    **{
        name: {"tasks": [f"{HERE}.{name}"]}
        for name in (
            "note",
            "fail",
            "fail_in_the_causing_way",
            "snooze_once",
            "call_off",
            "set_what_is_refused",
            "interrupt",
            "put_a_lock_in",
            "delete_itself",
            "add_user_and_fail",
            "swallow_an_error",
            "write_durably",
            "run_on_commit",
        )
    },
    "parent": {"tasks": [f"{HERE}.enqueue_child", f"{HERE}.note"]},
    "endless": {"tasks": [f"{HERE}.enqueue_itself"]},
    "hourly": {"tasks": [f"{HERE}.enqueue_itself_in_an_hour"]},
    "in_three_steps": {"tasks": [f"{HERE}.note"] * 3},
    "third_time_lucky": {"tasks": [f"{HERE}.fail_twice"], "retry": {"delays": [10, 600]}},
    "third_time_lucky_at_random": {"tasks": [f"{HERE}.fail_twice"], "retry": 3},
    "asks_for_another_try": {"tasks": [f"{HERE}.ask_for_another_try"], "retry": 3},
    "breaks_and_is_told_of": {
        "tasks": [f"{HERE}.add_same_user_twice"],
        "failure_hook": f"{HERE}.note_hook",
    },
    "breaks_in_its_hooks": {
        "tasks": [f"{HERE}.fail"],
        "failure_hook": f"{HERE}.break_in_a_hook",
        "post_task_hook": f"{HERE}.note_hook",
    },
    "sends_bad_sql": {"tasks": [f"{HERE}.send_bad_sql"], "failure_hook": f"{HERE}.note_hook"},
    "breaks_atomically": {"tasks": [f"{HERE}.add_same_user_twice"], "atomic": True},
    "atomic": {"tasks": [f"{HERE}.note"], "atomic": True},
    "hooked": {
        "tasks": [f"{HERE}.note"],
        "pre_task_hook": f"{HERE}.note_hook",
        "post_task_hook": f"{HERE}.note_hook",
    },
}
