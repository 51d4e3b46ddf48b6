"""Django tasks that are declared `unique`."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync

from django_dbq import queue
from django_dbq.models import Job
from django_dbq.rules.states import State
from django_dbq.task_backend import HOME
from tests.doors import tasks

pytestmark = pytest.mark.django_db

READY, RUNNING = HOME.base.TaskResultStatus.READY, HOME.base.TaskResultStatus.RUNNING


@pytest.fixture
def told():
    """The ids of the results that `task_enqueued` has told of."""
    ids = []

    def receiver(sender, task_result, **kwargs):
        ids.append(task_result.id)

    HOME.signals.task_enqueued.connect(receiver)
    yield ids
    HOME.signals.task_enqueued.disconnect(receiver)


def test_the_result_of_the_one_that_is_there_is_returned_and_nobody_is_told(told):
    first = tasks.rebuild.enqueue("index", full=True)
    second = tasks.rebuild.using(priority=50).enqueue(full=True, what="index")

    assert (second.id, second.status) == (first.id, READY)
    assert second.task.priority == 0
    assert told == [first.id]
    assert tasks.rebuild.enqueue("index").id != first.id
    assert Job.objects.count() == 2


def test_a_unique_task_that_runs_is_returned_as_it_is():
    first = tasks.rebuild.enqueue("index")
    Job.objects.update(state=State.PROCESSING, worker_id=1)

    second = tasks.rebuild.enqueue("index")
    assert (second.id, second.status) == (first.id, RUNNING)


def test_when_a_unique_task_has_ended_another_is_enqueued(work):
    first = tasks.rebuild.enqueue("index")
    work()
    first.refresh()

    assert first.return_value == "index"
    assert tasks.rebuild.enqueue("index").id != first.id


def test_the_arguments_that_are_named_count_alone_and_the_context_never():
    first = tasks.sync_account.enqueue(7, since="may")

    assert tasks.sync_account.enqueue(account=7).id == first.id
    assert tasks.sync_account.enqueue(8).id != first.id


def test_any_keyword_of_a_task_that_takes_all_may_count():
    first = tasks.note_unique.enqueue(1, kind="a", other=1)

    assert tasks.note_unique.enqueue(2, kind="a").id == first.id
    assert tasks.note_unique.enqueue(1, kind="b").id != first.id


@pytest.mark.django_db(transaction=True)
def test_a_unique_task_is_enqueued_once_from_async_code_too():
    async def enqueue_twice():
        first = await tasks.rebuild.aenqueue("index")
        return first.id, (await tasks.rebuild.aenqueue("index")).id

    first, second = async_to_sync(enqueue_twice)()
    assert first == second


def test_enqueue_many_leaves_out_unique_tasks_that_are_there():
    first = tasks.rebuild.enqueue("a")
    calls = [
        (tasks.rebuild, ["a"]),
        (tasks.noop, [1]),
        (tasks.rebuild, ["b"]),
        (tasks.rebuild, [], {"what": "b"}),
        (tasks.noop, [2]),
        (tasks.rebuild, ["c"]),
    ]

    assert queue.enqueue_many(calls) == 4
    enqueued = [job.workspace["args"] for job in Job.objects.order_by("created")]
    assert enqueued == [["a"], [1], ["b"], [2], ["c"]]
    assert str(Job.objects.order_by("created")[0].pk) == first.id


def test_arguments_that_a_unique_task_does_not_take_are_refused_where_it_is_enqueued():
    with pytest.raises(TypeError, match="what"):
        tasks.rebuild.enqueue()
    assert not Job.objects.exists()


def test_a_task_that_is_unique_by_what_it_does_not_take_is_refused():
    with pytest.raises(HOME.invalid_task, match=r"unique by account, which it does not take.*what"):
        tasks.task(unique=["account", "what"])(tasks.rebuild.func)


def test_a_task_cannot_be_unique_by_its_context():
    with pytest.raises(HOME.invalid_task, match="unique by context"):
        tasks.task(unique="context", takes_context=True)(tasks.sync_account.func)


def test_a_keyword_that_is_called_like_an_argument_by_place_does_not_hide_it():
    first = tasks.count_places.enqueue(1, place=2)

    assert tasks.count_places.enqueue(5, place=2).id != first.id
    assert tasks.count_places.enqueue(1, place=2).id == first.id
