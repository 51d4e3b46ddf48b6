"""A project on Django 6 with an app that declares its tasks by the backport, as Wagtail does."""

from __future__ import annotations

import pickle

import pytest
from django.test import override_settings

from django_dbq import task_backend
from django_dbq.models import Job
from django_dbq.rules.metadata import task_result_class
from django_dbq.rules.worlds import BACKPORT, CORE, WORLDS
from tests.doors import tasks

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(len(WORLDS) < 2, reason="only one of the two is installed"),
]


@pytest.fixture
def heard():
    """Which world's signals told of which task."""
    heard, receivers = [], []
    for world in WORLDS:
        for name in ("task_enqueued", "task_started", "task_finished"):

            def receive(sender, task_result, world=world, name=name, **kwargs):
                heard.append((world.package, name, sender.__name__, task_result.task.name))

            signal = getattr(world.signals, name)
            signal.connect(receive, weak=False)
            receivers.append((signal, receive))
    yield heard
    for signal, receive in receivers:
        signal.disconnect(receive)


def test_the_tasks_of_each_world_have_its_own_classes():
    from tests.doors import backport_tasks

    assert isinstance(backport_tasks.greet, BACKPORT.base.Task)
    assert not isinstance(backport_tasks.greet, CORE.base.Task)
    assert isinstance(tasks.add, CORE.base.Task)


def test_the_tasks_of_both_worlds_run_in_one_worker_with_their_own_results(work):
    from tests.doors import backport_tasks

    theirs, ours = backport_tasks.greet.enqueue("you"), tasks.add.enqueue(1, 2)
    assert Job.objects.count() == 2
    work(2)
    theirs.refresh()
    ours.refresh()

    assert (theirs.return_value, ours.return_value) == ("1: hello you", 3)
    assert isinstance(theirs, BACKPORT.base.TaskResult)
    assert isinstance(ours, CORE.base.TaskResult)
    assert theirs.status == BACKPORT.base.TaskResultStatus.SUCCESSFUL


def test_the_signals_of_each_world_tell_of_its_own_tasks(heard, work):
    from tests.doors import backport_tasks

    backport_tasks.refuse.enqueue()
    tasks.add.enqueue(1)
    work(2)

    three = ("task_enqueued", "task_started", "task_finished")
    assert [each for each in heard if each[3] == "refuse"] == [
        ("django_tasks", name, "BackportBackend", "refuse") for name in three
    ]
    assert [each for each in heard if each[3] == "add"] == [
        ("django.tasks", name, "DatabaseBackend", "add") for name in three
    ]


def test_a_result_that_is_not_there_is_told_in_the_words_of_each_world():
    from tests.doors import backport_tasks

    with pytest.raises(BACKPORT.result_does_not_exist):
        backport_tasks.greet.get_result("123")
    with pytest.raises(CORE.result_does_not_exist):
        tasks.add.get_result("123")


def test_the_tasks_of_both_worlds_have_metadata(work):
    from tests.doors import backport_tasks

    theirs = backport_tasks.count_greetings.using(metadata={"greetings": 1}).enqueue()
    ours = tasks.count_tries.using(metadata={"tries": 3}).enqueue()
    work(2)
    theirs.refresh()
    ours.refresh()

    assert (theirs.metadata, ours.metadata) == ({"greetings": 2}, {"tries": 4})


def test_bad_metadata_is_refused_in_the_words_of_each_world():
    from tests.doors import backport_tasks

    with pytest.raises(BACKPORT.invalid_task, match="begins with '_'"):
        backport_tasks.greet.using(metadata={"_key": 1})
    with pytest.raises(CORE.invalid_task, match="begins with '_'"):
        tasks.add.using(metadata={"_key": 1})


def test_the_classes_of_both_worlds_are_found_by_pickle():
    for kind, world in (
        (task_backend.TaskResult, CORE),
        (task_backend.BackportTaskResult, BACKPORT),
    ):
        assert kind is task_result_class(world)
        assert pickle.loads(pickle.dumps(kind)) is kind  # noqa: S301


@pytest.mark.parametrize("kind", ["Immediate", "Dummy"])
def test_the_doubles_give_each_its_own_classes(kind):
    from tests.doors import backport_tasks

    with override_settings(
        TASKS={"default": {"BACKEND": f"django_dbq.task_backend.{kind}Backend", "QUEUES": []}}
    ):
        theirs, ours = backport_tasks.greet.enqueue("you"), tasks.add.enqueue(1, 2)

    assert isinstance(theirs, BACKPORT.base.TaskResult)
    assert isinstance(ours, CORE.base.TaskResult)
    assert (theirs.backend, ours.backend) == ("default", "default")
