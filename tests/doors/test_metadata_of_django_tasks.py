"""Metadata of Django tasks, in the words of Django's open proposal."""

from __future__ import annotations

import pickle

import django  # noqa: F401 (in conditions of skipif)
import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from django_dbq import queue
from django_dbq.exceptions import InvalidMetadata, LeaseLost, PayloadTooLarge, WorkspaceNotJSON
from django_dbq.models import Job
from django_dbq.queue.results import result_of
from django_dbq.task_backend import HOME, DatabaseBackend
from django_dbq.testing import run_jobs
from django_dbq.worker.snapshot import Snapshot
from tests.doors import tasks

pytestmark = pytest.mark.django_db
FAILED, SUCCESSFUL = HOME.base.TaskResultStatus.FAILED, HOME.base.TaskResultStatus.SUCCESSFUL
TRACE = {"trace_id": 123, "tags": ["a", {"b": None}]}
COUNTING = [tasks.count_tries, tasks.count_tries_atomically, tasks.count_tries_async]


def row(result):
    return Job.objects.get(pk=result.id)


def metadata_of(result):
    """As somebody else reads it."""
    return result.task.get_backend().get_result(result.id).metadata


# Enqueueing


def test_metadata_that_using_says_comes_with_the_job_outside_of_its_arguments(work):
    result = tasks.noop.using(metadata=TRACE).enqueue(1, foo=2)

    assert (result.args, result.kwargs, result.metadata) == ([1], {"foo": 2}, TRACE)
    assert row(result).workspace == {"args": [1], "kwargs": {"foo": 2}, "metadata": TRACE}
    work()
    assert tasks.calls == [((1,), {"foo": 2})]
    assert metadata_of(result) == TRACE


def test_without_metadata_the_job_is_what_it_was_before():
    result = tasks.noop.using(metadata={}).enqueue(1)

    assert result.metadata == metadata_of(result) == {}
    assert row(result).workspace == {"args": [1], "kwargs": {}}


def test_using_replaces_earlier_metadata_and_leaves_the_task_alone():
    one = tasks.add.using(metadata={"one": 1})
    two = one.using(metadata={"two": 2})

    assert two.using(priority=3).metadata == {"two": 2}
    assert (tasks.add.metadata, one.metadata) == ({}, {"one": 1})
    assert one.using(metadata={}).metadata == {}
    assert hash(one) == hash(tasks.add.using(metadata={"one": 1}))  # as tasks could be before


def test_each_result_has_metadata_of_its_own():
    given = {"list": (1, 2)}
    result = tasks.noop.using(metadata=given).enqueue()
    result.metadata["list"].append(3)

    job = row(result)
    result_of(job).metadata["list"].append(4)

    assert given == {"list": (1, 2)}
    assert job.workspace["metadata"] == metadata_of(result) == {"list": [1, 2]}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (["trace_id"], "should be a dict"),
        ("trace_id", "should be a dict"),
        (0, "should be a dict"),
        ({1: 2}, "key 1 should be a text"),
        ({"_dbq": 1}, "begins with '_'"),
        ({"at": object()}, "JSON cannot express it: Unsupported type"),
        ({"at": [{1, 2}]}, "JSON cannot express it: Unsupported type"),
        ({"at": b"\xff"}, "JSON cannot express it"),
    ],
    ids=str,
)
def test_bad_metadata_is_refused_where_it_is_said(wrong, why):
    with pytest.raises(HOME.invalid_task, match=why) as caught:
        tasks.noop.using(metadata=wrong)

    assert isinstance(caught.value.__cause__, InvalidMetadata)


def test_metadata_with_a_number_that_json_does_not_have_is_refused_and_nothing_is_written():
    with pytest.raises(WorkspaceNotJSON):
        tasks.noop.using(metadata={"share": float("nan")}).enqueue()
    assert not Job.objects.exists()


def test_metadata_that_was_changed_after_using_is_looked_at_again():
    given = {"fine": 1}
    task = tasks.noop.using(metadata=given)
    given["_dbq"] = 2

    with pytest.raises(HOME.invalid_task, match="begins with '_'"):
        task.enqueue()
    assert not Job.objects.exists()


def test_metadata_counts_for_the_largest_payload(settings):
    settings.DBQ = {"MAX_PAYLOAD_BYTES": 1_000}

    with pytest.raises(PayloadTooLarge):
        tasks.noop.using(metadata={"text": "." * 1_000}).enqueue()
    with pytest.raises(PayloadTooLarge):
        queue.enqueue_many([(tasks.noop.using(metadata={"text": "." * 1_000}), [])])
    assert not Job.objects.exists()


def test_a_backend_that_knows_nothing_of_metadata_is_not_given_any(settings):
    settings.TASKS = {"default": {"BACKEND": f"{HOME.package}.backends.dummy.DummyBackend"}}

    with pytest.raises(HOME.invalid_task, match="does not support metadata"):
        tasks.noop.using(metadata={"a": 1})
    assert DatabaseBackend.supports_metadata is True


@pytest.mark.django_db(transaction=True)
def test_metadata_is_said_and_read_from_async_code():
    async def enqueue():
        result = await tasks.noop.using(metadata=TRACE).aenqueue()
        await result.arefresh()
        return result, await tasks.noop.aget_result(result.id)

    assert [each.metadata for each in async_to_sync(enqueue)()] == [TRACE, TRACE]


def test_many_tasks_have_each_their_own_metadata():
    calls = [(tasks.noop.using(metadata={"number": number}), [number]) for number in range(3)]
    calls += [(tasks.noop, [3]), (tasks.add.using(metadata=TRACE), [4])]
    queue.enqueue_many(calls)

    found = [job.workspace for job in Job.objects.order_by("created")]
    assert [each["args"] for each in found] == [[0], [1], [2], [3], [4]]
    expected = [{"number": 0}, {"number": 1}, {"number": 2}, None, TRACE]
    assert [each.get("metadata") for each in found] == expected


def test_who_is_told_that_a_task_is_enqueued_sees_its_metadata():
    seen = []

    def receive(task_result, **kwargs):
        seen.append(task_result.metadata)

    HOME.signals.task_enqueued.connect(receive)
    try:
        tasks.noop.using(metadata=TRACE).enqueue()
    finally:
        HOME.signals.task_enqueued.disconnect(receive)
    assert seen == [TRACE]


# In the task


def test_a_task_reads_its_metadata_in_its_context(work):
    result = tasks.tell_metadata.using(metadata=TRACE).enqueue()
    work()
    result.refresh()

    assert (result.return_value, result.metadata) == (TRACE, TRACE)


def test_a_job_without_metadata_gives_its_task_an_empty_dict(work):
    result = tasks.tell_metadata.enqueue()
    work()
    result.refresh()

    assert (result.return_value, result.metadata) == ({}, {})


@pytest.mark.parametrize("task", COUNTING)
def test_metadata_that_a_task_changes_is_saved_when_it_has_succeeded(task, work):
    result = task.using(metadata=TRACE).enqueue()
    work()
    result.refresh()

    assert (result.status, result.metadata) == (SUCCESSFUL, {**TRACE, "tries": 1})
    assert row(result).workspace["kwargs"] == {}


@pytest.mark.parametrize("task", COUNTING)
def test_the_next_attempt_sees_the_metadata_that_a_failed_one_has_changed(task, work):
    result = task.enqueue("fail")
    seen = []
    for _ in range(2):
        work()
        result.refresh()
        seen.append(result.metadata)

    assert seen == [{"tries": 1}, {"tries": 2}]
    assert (result.status, result.attempts) == (FAILED, 2)


@pytest.mark.parametrize("task", COUNTING)
@pytest.mark.parametrize(
    ("then", "state"), [("give up", "FAILED"), ("snooze", "READY"), ("cancel", "CANCELLED")]
)
def test_metadata_that_a_task_changes_is_saved_however_its_attempt_ends(task, then, state, work):
    result = task.enqueue(then)
    work()

    assert row(result).state == state
    assert metadata_of(result) == {"tries": 1}


def test_metadata_that_a_task_changes_is_saved_when_it_was_called_off_and_fails(work, monkeypatch):
    result = tasks.count_tries.enqueue("fail")
    monkeypatch.setattr(
        Job, "look_for_cancel", lambda job: setattr(job, "cancel_requested_at", timezone.now())
    )
    work()

    assert row(result).state == "CANCELLED"
    assert metadata_of(result) == {"tries": 1}


def test_an_attempt_that_is_interrupted_leaves_the_metadata_that_it_has_saved_and_no_more(work):
    one = tasks.count_tries.enqueue("be interrupted")
    work()

    assert (row(one).state, metadata_of(one)) == ("READY", {})


def test_a_task_may_empty_its_metadata(work):
    result = tasks.clear_metadata.using(metadata=TRACE).enqueue()
    work()

    assert metadata_of(result) == {}
    assert row(result).workspace == {"args": [], "kwargs": {}}


def test_arguments_stay_as_they_were_when_metadata_is_saved(work):
    result = tasks.change_arguments.enqueue([1, 2, 3])
    work()

    assert row(result).workspace["args"] == [[1, 2, 3]]
    assert metadata_of(result) == {"changed": True}


@pytest.mark.parametrize("before", [{}, {"seen": 1}])  # which equals True, and is another value
def test_who_is_told_that_a_task_starts_may_change_its_metadata_too(before, work):
    def receive(task_result, **kwargs):
        task_result.metadata["seen"] = True

    HOME.signals.task_started.connect(receive)
    try:
        result = tasks.noop.using(metadata=before).enqueue()
        work()
    finally:
        HOME.signals.task_started.disconnect(receive)
    assert metadata_of(result)["seen"] is True


def test_a_function_that_decides_on_another_try_sees_the_metadata(work, monkeypatch):
    seen = []

    def decide(exception, task_result):
        seen.append(dict(task_result.metadata))

    result = tasks.count_tries.enqueue("fail")
    declared = tasks.task(takes_context=True, max_attempts=2, backoff=decide)
    monkeypatch.setattr(tasks, "count_tries", declared(tasks.count_tries.func))
    work()

    assert seen == [{"tries": 1}]
    assert row(result).state == "FAILED"


def test_without_changes_of_its_metadata_the_job_is_not_written_back(work, monkeypatch):
    written, changes = [], Snapshot.changes
    monkeypatch.setattr(Snapshot, "changes", lambda self: written.append(changes(self)) or {})
    for task in (tasks.tell_metadata, tasks.tell_metadata.using(metadata=TRACE), tasks.noop):
        task.enqueue()
    work(3)

    assert written == [{}, {}, {}]


# At once


def test_others_see_at_once_the_metadata_that_a_task_saves(work):
    result = tasks.show_progress.using(metadata={"of": 3}).enqueue(3)
    work()
    result.refresh()

    assert tasks.calls == [{"of": 3, "done": done} for done in (1, 2, 3)]
    assert (result.status, result.metadata) == (SUCCESSFUL, {"of": 3, "done": 3})


def test_metadata_saved_at_once_does_not_touch_what_only_workers_write(work):
    result = tasks.show_progress.enqueue(1)
    work()

    job = row(result)
    assert (job.state, job.attempts, job.workspace["args"]) == ("COMPLETE", 1, [1])


@pytest.mark.django_db(transaction=True)
def test_nobody_saves_metadata_at_once_to_a_job_that_is_not_theirs_any_more(work):
    result = tasks.save_what_is_not_ours.enqueue()
    work()

    (error,) = tasks.calls
    assert isinstance(error, LeaseLost)
    assert row(result).state == "PROCESSING"  # the outcome was fenced off, too
    assert metadata_of(result) == {}


@pytest.mark.django_db(transaction=True)
def test_metadata_saved_at_once_and_changed_back_is_changed_back_when_the_task_fails(work):
    result = tasks.save_and_change_back.using(metadata={"done": 0}).enqueue()
    work()

    assert (row(result).state, metadata_of(result)) == ("READY", {"done": 0})


@pytest.mark.parametrize("what", ["reserved", "a number", "no json"])
@pytest.mark.parametrize("then", ["return", "save"])
def test_a_task_whose_metadata_is_none_fails_and_the_last_good_one_stays(what, then, work):
    result = tasks.keep_bad_metadata.enqueue(what, then)
    work()
    result.refresh()

    assert (result.status, result.metadata) == (FAILED, {"good": 1})
    assert [error.exception_class for error in result.errors] == [InvalidMetadata]


def test_metadata_with_a_number_that_json_does_not_have_fails_the_task(work):
    result = tasks.keep_bad_metadata.enqueue("nan")
    work()
    result.refresh()

    assert (result.status, result.metadata) == (FAILED, {"good": 1})
    assert [error.exception_class for error in result.errors] == [WorkspaceNotJSON]


@pytest.mark.parametrize("what", tasks.BAD)
def test_metadata_that_a_failed_task_cannot_save_is_told_and_hides_no_error(what, work, caplog):
    result = tasks.keep_bad_metadata.enqueue(what, "fail")
    work()
    result.refresh()

    assert (result.status, result.metadata) == (FAILED, {"good": 1})
    assert [error.exception_class for error in result.errors] == [OSError]
    assert "was not saved" in caplog.text


# Elsewhere


def test_run_jobs_keeps_metadata_as_a_worker_does():
    one = tasks.show_progress.using(metadata={"of": 2}).enqueue(2)
    other = tasks.show_progress_async.enqueue(1)
    third = tasks.count_tries.enqueue("fail")
    run_jobs()

    found = [metadata_of(each) for each in (one, other, third)]
    assert found == [{"of": 2, "done": 2}, {"done": 1}, {"tries": 2}]


def test_a_job_that_is_run_again_goes_on_with_the_metadata_that_it_had(work):
    result = tasks.count_tries.enqueue()
    work()
    queue.rerun(row(result))
    work()

    assert metadata_of(result) == {"tries": 2}


@pytest.mark.skipif("django.VERSION < (6, 1)", reason="Django's own cannot be pickled there")
def test_a_task_and_its_result_are_pickled_with_their_metadata():
    task = tasks.send_mail.using(metadata=TRACE)
    result = task.enqueue("a")

    assert pickle.loads(pickle.dumps(task)) == task  # noqa: S301
    again = pickle.loads(pickle.dumps(result))  # noqa: S301
    assert (again, again.metadata) == (result, TRACE)
    again.refresh()


def test_a_task_called_by_hand_has_metadata_in_a_context_of_djangos_too():
    result = tasks.count_tries.using(metadata={"tries": 1}).enqueue()
    tasks.count_tries.call(HOME.base.TaskContext(task_result=result))

    assert result.metadata == {"tries": 2}
    assert metadata_of(result) == {"tries": 1}  # nobody works on that job
