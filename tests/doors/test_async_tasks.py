"""Async Django tasks, on the event loop of a worker."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest
from django.db import OperationalError

from django_dbq.engines import Claim, engine_for
from django_dbq.models import Attempt, Job
from django_dbq.rules.django_tasks import declaration_at
from django_dbq.task_backend import HOME, task
from django_dbq.worker import async_attempts, calls
from django_dbq.worker.async_attempts import AsyncAttempt
from tests.doors import tasks
from tests.worker.bench import benches
from tests.worker.conftest import now

pytestmark = pytest.mark.django_db(transaction=True)
READY, FAILED, SUCCESSFUL = (
    HOME.base.TaskResultStatus[name] for name in ("READY", "FAILED", "SUCCESSFUL")
)
signals = HOME.signals


@pytest.fixture
def work(monkeypatch):
    """Run all jobs that are due, each once, as a worker's pool does; how many were on the loop."""
    engine, on_the_loop = engine_for("default"), []
    run_async = AsyncAttempt.run_async

    async def counted(attempt):
        asyncio.get_running_loop()
        on_the_loop.append(attempt.job)
        return await run_async(attempt)

    monkeypatch.setattr(AsyncAttempt, "run_async", counted)

    def work():
        on_the_loop.clear()
        with benches() as bench:
            busy = bench()
            jobs = engine.claim(Claim(["default"], limit=50, worker_id=1, now=now()))
            busy.submit(*jobs)
            busy.outcomes(len(jobs))
            engine.acknowledge(busy.finished, now=now(), worker="host:1")
        return len(on_the_loop)

    return work


def test_what_an_async_task_returns_is_its_result(work):
    result = tasks.add_async.enqueue(1, second=2)

    assert work() == 1
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (SUCCESSFUL, 3, 1)


def test_what_an_async_task_changes_of_its_metadata_is_saved_however_it_ends(work):
    good, bad = (
        tasks.count_tries_async.using(metadata={"a": 1}).enqueue(then)
        for then in ("return", "fail")
    )

    assert work() == 2
    good.refresh()
    bad.refresh()
    assert good.metadata == bad.metadata == {"a": 1, "tries": 1}
    assert (good.status, bad.status) == (SUCCESSFUL, READY)


def test_others_see_at_once_the_metadata_that_an_async_task_saves(work):
    result = tasks.show_progress_async.using(metadata={"of": 2}).enqueue(2)

    assert work() == 1
    result.refresh()
    assert tasks.calls == [{"of": 2, "done": 1}, {"of": 2, "done": 2}]
    assert (result.status, result.metadata) == (SUCCESSFUL, {"of": 2, "done": 2})


def test_an_async_task_gets_its_context(work):
    result = tasks.tell_context_async.enqueue("hello")

    assert work() == 1
    result.refresh()
    assert result.return_value == {"greeting": "hello", "attempt": 1, "id": result.id}


def test_an_async_task_that_returns_what_json_cannot_express_fails(work):
    result = tasks.return_what_is_no_json_async.enqueue()

    assert work() == 1
    result.refresh()
    assert result.status == FAILED
    assert result.errors[0].exception_class is TypeError


def test_an_async_task_is_tried_again_and_its_result_has_the_earlier_errors(work):
    result = tasks.fail_until_third_async.enqueue()

    assert [work(), work(), work()] == [1, 1, 1]
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (SUCCESSFUL, 3, 3)
    assert [error.exception_class for error in result.errors] == [OSError, OSError]


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_its_context_tells_of_earlier_tries_whether_or_not_they_are_logged(work, caplog, level):
    caplog.set_level(level, logger=HOME.package)
    result = tasks.tell_errors_at_third_async.enqueue()

    assert [work(), work(), work()] == [1, 1, 1]
    result.refresh()
    assert (result.status, result.attempts) == (SUCCESSFUL, 3)
    assert result.return_value == ["builtins.OSError"] * 2


@pytest.fixture
def stories_away(monkeypatch):
    """A context in which the database does not tell of earlier tries."""

    def fail(job):
        raise OperationalError("the server is starting up")

    @contextmanager
    def stories_away():
        with monkeypatch.context() as patch:
            patch.setattr(calls, "_stories_of", fail)
            yield

    return stories_away


@pytest.mark.parametrize("name", ["fail_until_third", "fail_until_third_async"])
@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_a_task_is_tried_again_though_the_database_cannot_tell_of_earlier_tries(
    work, caplog, stories_away, name, level
):
    caplog.set_level(level, logger=HOME.package)
    result = getattr(tasks, name).enqueue()
    work()
    with stories_away():
        work()
    work()

    result.refresh()
    assert (result.status, result.attempts) == (SUCCESSFUL, 3)
    assert [error.exception_class for error in result.errors] == [OSError, OSError]


def test_whose_context_is_to_tell_of_them_waits_and_that_costs_no_try(work, stories_away):
    result = tasks.tell_errors_at_third_async.enqueue()
    work()
    with stories_away():
        work()
    (job,) = Job.objects.filter(run_after__gt=now())
    assert (job.state, job.attempts) == ("READY", 1)
    Job.objects.update(run_after=None)

    assert [work(), work()] == [1, 1]
    result.refresh()
    assert (result.status, result.attempts) == (SUCCESSFUL, 3)


def test_a_timeout_cancels_an_async_task(work):
    result = tasks.wait_too_long_async.enqueue()

    assert work() == 1
    result.refresh()
    assert result.status == FAILED
    assert Attempt.objects.get(job_id=result.id).exception == "django_dbq.exceptions.JobTimeout"
    assert tasks.calls == ["finally"]


def test_receivers_of_an_async_tasks_signals_may_ask_the_database(work):
    told = []

    def note(sender, task_result, **other):
        told.append((str(task_result.status), Job.objects.count()))

    signals.task_started.connect(note)
    signals.task_finished.connect(note)
    try:
        tasks.add_async.enqueue(1)
        assert work() == 1
    finally:
        signals.task_started.disconnect(note)
        signals.task_finished.disconnect(note)

    assert told == [("RUNNING", 1), ("SUCCESSFUL", 1)]


def test_an_async_task_that_is_declared_atomic_is_refused_where_it_is_declared():
    with pytest.raises(HOME.invalid_task, match="no async transactions"):
        task(atomic=True)(tasks.not_atomic)


def test_the_declaration_of_a_task_tells_whether_it_is_async():
    assert declaration_at(tasks.add_async.module_path).is_async
    assert not declaration_at(tasks.add.module_path).is_async


def test_an_async_task_that_simply_succeeds_does_not_leave_the_event_loop(work, monkeypatch):
    """The way to a thread and back costs more than a short task."""

    async def refused(function, *arguments):
        raise AssertionError(f"{function} was called on a thread")

    monkeypatch.setattr(async_attempts, "in_thread", refused)
    result = tasks.add_async.enqueue(1, second=2)

    assert work() == 1
    result.refresh()
    assert result.return_value == 3
