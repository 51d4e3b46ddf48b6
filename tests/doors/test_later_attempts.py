"""Later attempts of a Django task: what was before is told of, and decides nothing."""

from __future__ import annotations

import logging

import pytest
from django.db import connection

from django_dbq import queue
from django_dbq.engines import Claim, engine_for
from django_dbq.models import Attempt, Job
from django_dbq.rules.outcomes import Completed, Retried
from django_dbq.task_backend import HOME
from django_dbq.worker.executor import perform
from tests.doors import tasks
from tests.worker.bench import benches
from tests.worker.conftest import now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def heard():
    """What the signals tell: the name, and how many attempts and errors there are."""
    told = []

    def receiver(sender, task_result, signal, **kwargs):
        name = next(name for name in NAMES if getattr(HOME.signals, name) is signal)
        told.append((name, task_result.attempts, len(task_result.errors)))

    for name in NAMES:
        getattr(HOME.signals, name).connect(receiver)
    yield told
    for name in NAMES:
        getattr(HOME.signals, name).disconnect(receiver)


NAMES = ("task_started", "task_finished")


@pytest.fixture
def lost_connection():
    """A connection is lost in this test."""
    if connection.vendor == "sqlite":
        pytest.skip("a file is never cut off")
    yield
    engine_for("default").forget_connection()


def claimed():
    (job,) = engine_for("default").claim(Claim(["default"], limit=1, worker_id=1, now=now()))
    return job


def on_its_second_attempt(task, **kwargs):
    task.enqueue(**kwargs)
    job = claimed()
    job.attempts = 2
    return job


def test_a_task_that_loses_its_connection_and_fails_is_tried_again_like_a_job(lost_connection):
    job = on_its_second_attempt(tasks.lose_connection, fails=True)

    assert isinstance(perform(job), Retried)


def test_a_task_that_loses_its_connection_and_succeeds_has_succeeded(lost_connection, heard):
    job = on_its_second_attempt(tasks.lose_connection, fails=False)

    assert isinstance(perform(job), Completed)


def test_what_goes_wrong_when_its_end_is_told_changes_no_outcome(monkeypatch, heard, caplog):
    def broken(*args, **kwargs):
        raise SystemExit("a broken signal")

    monkeypatch.setattr(HOME.signals.task_finished, "send_robust", broken)
    tasks.fail.enqueue()
    tasks.add.enqueue(1)

    outcomes = [type(perform(claimed())).__name__ for _ in range(2)]
    assert outcomes == ["Failed", "Completed"]
    assert caplog.text.count("nobody was told of its end") == 2


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_an_async_task_gets_its_context_at_each_try_whoever_listens(level, caplog):
    result = tasks.tell_attempt_async.enqueue()
    with caplog.at_level(level, HOME.package), benches() as bench:
        for _ in range(3):
            busy = bench()
            busy.submit(claimed())
            busy.outcomes()
            engine_for("default").acknowledge(busy.finished, now=now(), worker="host:1")

    result.refresh()
    assert [error.exception_class_path for error in result.errors] == ["builtins.OSError"] * 2
    assert result.return_value == 3


def test_after_a_rerun_who_listens_is_told_of_all_attempts(heard, work):
    result = tasks.fail.enqueue()
    work()
    queue.rerun(result)
    work()
    result.refresh()

    assert result.attempts == 2
    assert heard == [
        ("task_started", 1, 0),
        ("task_finished", 1, 1),
        ("task_started", 2, 1),
        ("task_finished", 2, 2),
    ]


def test_a_first_attempt_asks_for_no_earlier_ones(django_assert_num_queries, heard):
    tasks.add.enqueue(1)
    job = claimed()

    with django_assert_num_queries(0):
        perform(job)
    assert [name for name, *_ in heard] == list(NAMES)
    assert not Attempt.objects.exists()
    assert Job.objects.count() == 1
