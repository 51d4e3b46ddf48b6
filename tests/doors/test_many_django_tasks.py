"""Any number of Django tasks at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.utils import timezone

from django_dbq import queue
from django_dbq.exceptions import PayloadTooLarge
from django_dbq.models import Job
from django_dbq.queue import django_tasks
from django_dbq.task_backend import HOME
from tests.doors import tasks

pytestmark = pytest.mark.django_db

LATER = timezone.now() + timedelta(hours=1)
RECEIVED = "tests.doors.tasks.noop"


def workspaces():
    return [job.workspace for job in Job.objects.order_by("created")]


def arguments(*args, **kwargs):
    return {"args": list(args), "kwargs": kwargs}


def test_each_call_is_a_job_with_its_arguments():
    calls = [(tasks.noop, [1]), (tasks.noop, (2, "b"), {"c": [3]}), [tasks.add, [1], {"second": 2}]]
    assert queue.enqueue_many(calls) == 3

    assert workspaces() == [arguments(1), arguments(2, "b", c=[3]), arguments(1, second=2)]
    names = [job.name for job in Job.objects.order_by("created")]
    assert names == [RECEIVED, RECEIVED, tasks.add.module_path]


def test_many_tasks_are_the_rows_that_a_single_enqueue_makes():
    mail = tasks.send_mail.using(run_after=LATER)
    one = Job.objects.get(pk=mail.enqueue("you").id)
    queue.enqueue_many([(mail, ["you"])])
    other = Job.objects.exclude(pk=one.pk).get()

    for field in Job._meta.concrete_fields:
        if field.name not in ("id", "created", "modified"):
            assert getattr(other, field.name) == getattr(one, field.name), field.name


def test_many_tasks_run_and_have_results(work):
    assert queue.enqueue_many((tasks.add, [number]) for number in range(3)) == 3
    work(times=3)

    backend = tasks.add.get_backend()
    results = [backend.get_result(str(job.pk)) for job in Job.objects.order_by("created")]
    assert [result.return_value for result in results] == [0, 1, 2]


def test_using_says_what_is_different_for_each():
    later = tasks.send_mail.using(run_after=LATER)
    queue.enqueue_many(
        [
            (tasks.send_mail, ["a"]),
            (later, ["b"]),
            (later.using(queue_name="post", priority=-5), ["c"]),
            (tasks.send_mail, ["d"]),
        ]
    )

    rows = Job.objects.order_by("created").values_list("queue_name", "priority", "run_after")
    assert list(rows) == [
        ("mail", 10, None),
        ("mail", 10, LATER),
        ("post", -5, LATER),
        ("mail", 10, None),
    ]


def test_many_tasks_come_in_the_order_in_which_they_were_given():
    mix = [(tasks.noop if number % 7 else tasks.add, [number]) for number in range(60)]
    queue.enqueue_many(iter(mix))

    assert [workspace["args"][0] for workspace in workspaces()] == list(range(60))


def test_many_tasks_that_are_alike_go_together(django_assert_max_num_queries):
    copies = ((tasks.noop.using(priority=3), [number]) for number in range(500))
    with django_assert_max_num_queries(3):  # a savepoint around them
        assert queue.enqueue_many(copies) == 500


def test_many_tasks_of_a_mix_go_together_too(django_assert_max_num_queries):
    mix = [(tasks.noop, []), (tasks.add, [1]), (tasks.send_mail, ["you"])] * 100
    with django_assert_max_num_queries(3):
        assert queue.enqueue_many(mix) == 300


def test_each_task_is_validated_once(monkeypatch):
    backend = type(tasks.noop.get_backend())
    validated, validate = [], backend.validate_task

    def note(self, task):
        validated.append(task.module_path)
        validate(self, task)

    monkeypatch.setattr(backend, "validate_task", note)
    queue.enqueue_many([(tasks.noop, []), (tasks.add, [1])] * 50)

    assert sorted(validated) == sorted([tasks.noop.module_path, tasks.add.module_path])


def test_copies_that_all_differ_are_told_apart(monkeypatch):
    monkeypatch.setattr(django_tasks, "MANY_TASKS", 3)
    queue.enqueue_many((tasks.noop.using(priority=number), [number]) for number in range(20))

    for job in Job.objects.all():
        assert job.workspace["args"] == [job.priority]


def test_no_calls_are_no_jobs():
    assert queue.enqueue_many([]) == queue.enqueue_many(iter(())) == 0


def test_arguments_are_made_json_as_enqueue_makes_them():
    queue.enqueue_many([(tasks.noop, [(1, 2), b"bytes"], {"a": {"b": (3,)}})])

    assert workspaces() == [arguments([1, 2], "bytes", a={"b": [3]})]


@pytest.mark.parametrize("bad", [{1}, object(), float("nan"), LATER], ids=repr)
def test_of_many_none_is_enqueued_when_the_arguments_of_one_are_no_json(bad):
    calls = [(tasks.noop, [number]) for number in range(1_200)]
    with pytest.raises(TypeError):
        queue.enqueue_many([*calls, (tasks.add, [bad])])

    assert not Job.objects.exists()


def test_of_many_none_is_enqueued_when_one_is_too_large(settings):
    settings.DBQ = {"MAX_PAYLOAD_BYTES": 100}
    with pytest.raises(PayloadTooLarge, match=tasks.add.module_path):
        queue.enqueue_many([(tasks.noop, []), (tasks.add, ["." * 100])])

    assert not Job.objects.exists()


def test_of_many_none_is_enqueued_when_a_task_is_not_valid(settings):
    allowed = tasks.noop.using(queue_name="allowed")
    other = tasks.noop.using(queue_name="other")
    backend = settings.TASKS["default"]["BACKEND"]
    settings.TASKS = {"default": {"BACKEND": backend, "QUEUES": ["allowed"]}}
    queue.enqueue_many([(allowed, [])])
    with pytest.raises(tasks.add.get_backend().world.invalid_task):
        queue.enqueue_many([(allowed, []), (other, [])])

    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    "call",
    [
        tasks.noop,
        (tasks.noop,),
        (tasks.noop, [], {}, 1),
        (tasks.noop, "text"),
        (tasks.noop, {"a": 1}),
        (tasks.noop, [], [1]),
        (tasks.noop, [], {1: 2}),
        ("noop", []),
        (tasks.not_a_task, []),
        None,
    ],
    ids=repr,
)
def test_what_is_no_call_is_refused_with_its_place(call):
    with pytest.raises(TypeError, match="Call 1 of enqueue_many"):
        queue.enqueue_many([(tasks.noop, []), call])

    assert not Job.objects.exists()


@pytest.mark.parametrize("options", [{"queue_name": "q"}, {"priority": 1}, {"using": "other"}])
def test_what_is_said_of_a_task_is_said_by_using(options):
    with pytest.raises(TypeError, match="using"):
        queue.enqueue_many([(tasks.noop, [])], **options)


def test_a_name_needs_workspaces():
    with pytest.raises(TypeError, match="workspaces"):
        queue.enqueue_many("noop")


def test_many_tasks_belong_to_the_caller_s_transaction():
    with transaction.atomic():
        queue.enqueue_many([(tasks.noop, [])])
        transaction.set_rollback(True)

    assert not Job.objects.exists()


def test_no_signal_is_sent_for_each_of_many():
    heard = []
    signal = HOME.signals.task_enqueued

    def hear(sender, **told):
        heard.append(told)

    signal.connect(hear)
    try:
        queue.enqueue_many([(tasks.noop, [])])
        assert not heard
        tasks.noop.enqueue()
        assert len(heard) == 1
    finally:
        signal.disconnect(hear)


@pytest.mark.parametrize("kind", ["Immediate", "Dummy"])
def test_a_task_of_another_backend_is_given_to_it(settings, kind):
    ours = settings.TASKS["default"]
    settings.TASKS = {
        "default": ours,
        "now": {"BACKEND": f"django_dbq.task_backend.{kind}Backend", "QUEUES": []},
    }
    now = tasks.noop.using(backend="now")
    assert queue.enqueue_many([(tasks.noop, [1]), (now, [2], {"b": 3}), (tasks.noop, [4])]) == 3

    assert workspaces() == [arguments(1), arguments(4)]
    if kind == "Immediate":
        assert tasks.calls == [((2,), {"b": 3})]
    else:
        (result,) = now.get_backend().results
        assert (result.args, result.kwargs) == ([2], {"b": 3})


@pytest.mark.django_db(transaction=True)
def test_many_tasks_are_enqueued_from_async_code():
    async def enqueue():
        try:
            return (
                await queue.aenqueue_many([(tasks.noop, [1]), (tasks.noop, [2])]),
                await queue.aenqueue_many("noop", [{}], queue_name="q"),
            )
        finally:
            await sync_to_async(connections.close_all)()

    assert asyncio.run(enqueue()) == (2, 1)
    assert Job.objects.count() == 3
