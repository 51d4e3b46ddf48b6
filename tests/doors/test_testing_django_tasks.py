"""Django tasks in users' tests: run, asserted and captured beside the jobs of JOBS."""

from __future__ import annotations

from unittest import mock

import pytest

from django_dbq.models import Job
from django_dbq.testing import assert_enqueued, assert_not_enqueued, captured_jobs, run_jobs
from tests.doors import chores, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def declared(settings):
    chores.calls.clear()
    settings.JOBS = chores.JOBS


def test_django_tasks_and_jobs_are_run_together():
    result = tasks.add.enqueue(1, second=2)
    Job.objects.create(name="note")

    run = run_jobs()
    result.refresh()

    assert (len(run.complete), result.return_value) == (2, 3)


def test_a_task_is_tried_again_until_it_succeeds():
    result = tasks.fail_until_third.enqueue()

    run_jobs()
    result.refresh()

    assert (result.return_value, result.attempts) == (3, 3)


def test_with_raise_errors_the_exception_of_the_task_is_raised():
    tasks.fail.enqueue()

    with pytest.raises(ValueError, match="no luck today"):
        run_jobs(raise_errors=True)


@pytest.mark.parametrize("told", ["the task", "its path"])
def test_a_django_task_is_asked_for_by_itself_or_its_path_and_by_its_arguments(told):
    tasks.add.enqueue(1, second=2)
    tasks.send_mail.enqueue("anna")
    task = tasks.add if told == "the task" else tasks.add.module_path

    assert_enqueued(task, args=[1], kwargs={"second": 2}, count=1)
    assert_enqueued(task, args=(1,))
    assert_enqueued(task, args=(mock.ANY,), kwargs={"second": mock.ANY})
    assert_not_enqueued(task, args=[1, 2])
    assert_not_enqueued(task, kwargs={})
    assert_enqueued(tasks.send_mail, args=["anna"], queue_name="mail", priority=10)


def test_the_message_shows_a_tasks_arguments():
    tasks.add.enqueue(1, second=2)

    with pytest.raises(AssertionError) as caught:
        assert_enqueued(tasks.add, args=[2])

    assert str(caught.value).splitlines() == [
        "tests.doors.tasks.add with args=[2] is enqueued not at all; expected: at least one.",
        "Enqueued:",
        "  tests.doors.tasks.add args=[1] kwargs={'second': 2} queue_name='default' priority=0",
    ]


def test_a_task_that_is_enqueued_is_captured():
    with captured_jobs() as jobs:
        result = tasks.add.enqueue(1)

    assert [(str(job.pk), job.name) for job in jobs] == [(result.id, tasks.add.module_path)]
