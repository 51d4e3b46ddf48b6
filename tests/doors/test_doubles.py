"""Django's two backends for tests, with tasks that say how they are to be run.

What they do is Django's contract for its own; what they accept is ours.
"""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

import django
import pytest
from django.test import override_settings
from django.utils import timezone

from django_dbq.exceptions import InvalidDeclaration, InvalidMetadata
from django_dbq.task_backend import HOME, DummyBackend, ImmediateBackend, Task, task
from tests.doors import tasks

READY, FAILED, SUCCESSFUL = (
    HOME.base.TaskResultStatus[name] for name in ("READY", "FAILED", "SUCCESSFUL")
)
OURS = {"immediate": ImmediateBackend, "dummy": DummyBackend}
PATHS = {name: f"{kind.__module__}.{kind.__name__}" for name, kind in OURS.items()}
DJANGOS = {
    "immediate": f"{HOME.package}.backends.immediate.ImmediateBackend",
    "dummy": f"{HOME.package}.backends.dummy.DummyBackend",
}
POLICY = {
    "retry": {"max_attempts": 4, "delays": [1, 2]},
    "timeout": timedelta(seconds=30),
    "grace": 2,
    "isolation": "process",
    "atomic": True,
}


def anything():
    """Never called."""


def interrupt():
    raise KeyboardInterrupt


def backend(path, **options):
    return override_settings(TASKS={"default": {"BACKEND": path, "QUEUES": [], **options}})


@pytest.fixture(params=["immediate", "dummy"])
def double(request):
    """Either of ours, in use."""
    with backend(PATHS[request.param]):
        yield HOME.tasks.task_backends["default"]


@pytest.fixture
def immediate():
    with backend(PATHS["immediate"]):
        yield HOME.tasks.task_backends["default"]


@pytest.fixture
def dummy():
    with backend(PATHS["dummy"]):
        yield HOME.tasks.task_backends["default"]


@pytest.fixture(autouse=True)
def no_calls_yet():
    tasks.calls.clear()


@pytest.fixture
def told():
    """The signals that are sent, and the status of which they tell."""
    told = []

    def receiver(name):
        return lambda sender, task_result, **_: told.append((name, sender, task_result.status))

    names = ("task_enqueued", "task_started", "task_finished")
    receivers = {name: receiver(name) for name in names}
    for name, each in receivers.items():
        getattr(HOME.signals, name).connect(each)
    yield told
    for name, each in receivers.items():
        getattr(HOME.signals, name).disconnect(each)


# What they are


@pytest.mark.parametrize("name", OURS)
def test_each_backend_for_tests_is_djangos_own_and_is_found_by_its_path(name):
    module, _, kind = DJANGOS[name].rpartition(".")
    djangos = getattr(import_module(module), kind)

    with backend(PATHS[name]):
        found = HOME.tasks.task_backends["default"]
        assert type(found) is OURS[name]
        assert isinstance(found, djangos)
        assert HOME.tasks.default_task_backend == found
        assert not list(found.check())


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "feature",
    ["supports_defer", "supports_async_task", "supports_get_result", "supports_priority"],
)
def test_each_backend_for_tests_supports_what_djangos_does(name, feature):
    with backend(DJANGOS[name]):
        djangos = getattr(HOME.tasks.task_backends["default"], feature)

    assert getattr(OURS[name], feature) == djangos


# What they accept


def test_a_task_may_say_how_it_is_to_be_run(double):
    declared = task(queue_name="mail", priority=3, **POLICY)(anything)

    assert type(declared) is Task
    assert {key: getattr(declared, key) for key in POLICY} == POLICY
    assert (declared.queue_name, declared.priority) == ("mail", 3)


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django's own decorator takes no other words")
def test_djangos_own_decorator_passes_our_words_on(double):
    assert HOME.tasks.task(max_attempts=2)(anything).max_attempts == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": -1},
        {"isolation": "planet"},
        {"retry": 3, "max_attempts": 3},
        {"max_attempts": 0},
        {"backoff": "soon"},
    ],
    ids=str,
)
def test_a_word_that_makes_no_sense_is_refused_where_the_task_is_declared(double, wrong):
    with pytest.raises(HOME.invalid_task) as caught:
        task(**wrong)(anything)

    assert isinstance(caught.value.__cause__, InvalidDeclaration)


def test_a_word_that_nobody_knows_is_refused(double):
    with pytest.raises(TypeError, match="colour"):
        task(colour="red")(anything)


def test_the_same_task_with_other_values_keeps_what_it_declares(double):
    other = tasks.fail_until_third.using(priority=5, queue_name="mail")

    assert (other.priority, other.queue_name, other.max_attempts) == (5, "mail", 3)


def test_a_queue_that_the_settings_lack_is_refused():
    for path in PATHS.values():
        with backend(path, QUEUES=["mail"]), pytest.raises(HOME.invalid_task, match="nowhere"):
            tasks.noop.using(queue_name="nowhere").enqueue()


# At once


@pytest.mark.parametrize("which", [tasks.add, tasks.add_async], ids=["sync", "async"])
def test_at_once_a_task_has_run_when_it_is_enqueued(immediate, which):
    result = which.enqueue(1, second=2)

    assert (result.status, result.return_value, result.attempts) == (SUCCESSFUL, 3, 1)
    assert (result.args, result.kwargs, result.is_finished) == ([1], {"second": 2}, True)
    assert result.enqueued_at <= result.started_at == result.last_attempted_at
    assert result.started_at <= result.finished_at
    assert result.task == which


def test_at_once_a_task_is_tried_once_whatever_it_declares(immediate):
    result = tasks.fail_until_third.enqueue()

    assert (result.status, tasks.calls, len(result.errors)) == (FAILED, ["try"], 1)
    assert result.errors[0].exception_class is OSError


@pytest.mark.parametrize(
    ("which", "kind"),
    [
        (tasks.fail, ValueError),
        (tasks.leave, SystemExit),
        (tasks.return_what_is_no_json, TypeError),
    ],
    ids=["raises", "exits", "returns no JSON"],
)
def test_at_once_what_a_task_does_wrong_is_in_its_result_and_not_raised(immediate, which, kind):
    result = which.enqueue()

    assert result.status == FAILED
    assert result.errors[0].exception_class is kind
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018


def test_at_once_an_interrupted_test_run_ends(immediate):
    interrupted = task(interrupt)

    with pytest.raises(KeyboardInterrupt):
        interrupted.enqueue()


def test_at_once_a_task_gets_its_context(immediate):
    result = tasks.tell_context.enqueue("hello")

    assert result.return_value["id"] == result.id
    assert (result.return_value["greeting"], result.return_value["attempt"]) == ("hello", 1)
    assert result.return_value["workers"] == 1


def test_at_once_signals_tell_of_each_step(immediate, told):
    tasks.noop.enqueue()

    assert [name for name, _, _ in told] == ["task_enqueued", "task_started", "task_finished"]
    assert {sender for _, sender, _ in told} == {ImmediateBackend}
    assert told[-1][2] == SUCCESSFUL


def test_at_once_nothing_is_kept_to_be_read_again(immediate):
    result = tasks.noop.enqueue()

    for read in (result.refresh, lambda: immediate.get_result(result.id)):
        with pytest.raises(NotImplementedError, match="does not support"):
            read()


def test_at_once_is_not_later(immediate):
    with pytest.raises(HOME.invalid_task, match="run_after"):
        tasks.noop.using(run_after=timezone.now()).enqueue()


# Not at all


def test_a_dummy_keeps_what_is_enqueued_and_runs_nothing(dummy):
    result = tasks.noop.enqueue(1, two=3)

    assert (result.status, result.args, result.kwargs) == (READY, [1], {"two": 3})
    assert (result.attempts, result.started_at, result.is_finished) == (0, None, False)
    assert tasks.calls == []
    assert dummy.results == [result]
    with pytest.raises(ValueError, match="not finished"):
        result.return_value  # noqa: B018


def test_a_dummys_result_is_a_copy_which_can_be_read_again(dummy):
    result = tasks.fail_until_third.enqueue()
    object.__setattr__(dummy.results[0], "status", SUCCESSFUL)

    assert result.status == READY
    result.refresh()
    assert result.status == SUCCESSFUL
    assert dummy.get_result(result.id) is dummy.results[0]


def test_a_dummy_that_is_cleared_knows_nothing_any_more(dummy):
    result = tasks.noop.enqueue()
    dummy.clear()

    assert dummy.results == []
    with pytest.raises(HOME.result_does_not_exist):
        dummy.get_result(result.id)


def test_a_dummy_takes_tasks_for_later(dummy):
    due = timezone.now() + timedelta(hours=1)

    assert tasks.noop.using(run_after=due).enqueue().task.run_after == due
    later = tasks.fail_until_third.using(run_after=timedelta(hours=1))
    assert abs(later.enqueue().task.run_after - due) < timedelta(minutes=1)


def test_a_dummy_tells_of_what_is_enqueued_alone(dummy, told):
    tasks.noop.enqueue()

    assert told == [("task_enqueued", DummyBackend, READY)]


# Metadata


def test_both_backends_for_tests_keep_metadata_with_the_result(double):
    result = tasks.noop.using(metadata={"trace_id": 1}).enqueue()

    assert (double.supports_metadata, result.metadata) == (True, {"trace_id": 1})
    assert tasks.noop.enqueue().metadata == {}
    with pytest.raises(HOME.invalid_task, match="begins with '_'"):
        tasks.noop.using(metadata={"_trace_id": 1})


@pytest.mark.parametrize(
    "which", [tasks.count_tries, tasks.count_tries_async], ids=["sync", "async"]
)
@pytest.mark.parametrize(("then", "status"), [("return", SUCCESSFUL), ("fail", FAILED)])
def test_at_once_a_task_changes_its_metadata(immediate, which, then, status):
    result = which.using(metadata={"tries": 1}).enqueue(then)

    assert (result.status, result.metadata) == (status, {"tries": 2})


@pytest.mark.parametrize("which", [tasks.save_progress, tasks.save_progress_async])
def test_at_once_there_is_nothing_to_be_saved_elsewhere(immediate, which):
    result = which.enqueue(3)

    assert (result.status, result.metadata) == (SUCCESSFUL, {"done": 3})


@pytest.mark.parametrize("then", ["return", "save"])
@pytest.mark.parametrize("what", ["reserved", "a number", "no json"])
def test_at_once_what_a_worker_could_not_save_fails_the_task(immediate, what, then):
    result = tasks.keep_bad_metadata.enqueue(what, then)

    assert result.status == FAILED
    assert result.errors[0].exception_class is InvalidMetadata


def test_a_dummys_result_has_its_own_copy_of_the_metadata(dummy):
    result = tasks.noop.using(metadata={"list": []}).enqueue()
    result.metadata["list"].append(1)

    assert dummy.results[0].metadata == {"list": []}
    result.refresh()
    assert result.metadata == {"list": []}


# And in a transaction


@pytest.mark.django_db(transaction=True)
def test_no_backend_for_tests_waits_for_a_commit_or_touches_the_database(
    double, django_assert_num_queries
):
    with django_assert_num_queries(0):
        assert tasks.noop.enqueue().enqueued_at is not None
