"""What is enqueued: asserted, and captured, whichever way it came into the table."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.db import transaction
from django.utils import timezone

from django_dbq import queue
from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared
from django_dbq.models import Job
from django_dbq.testing import assert_enqueued, assert_not_enqueued, captured_jobs, run_jobs
from tests.doors import chores

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def declared(settings):
    chores.calls.clear()
    settings.JOBS = chores.JOBS


def numbers(jobs):
    return [job.workspace["n"] for job in jobs]


# Asserting


def test_a_job_that_waits_is_enqueued_and_returned():
    job = Job.objects.create(name="note")

    assert assert_enqueued("note") == [job]
    with pytest.raises(AssertionError):
        assert_not_enqueued("note")


def test_a_job_of_another_name_is_not_the_one_that_is_asked_for():
    Job.objects.create(name="note")

    assert_not_enqueued("fail")
    with pytest.raises(AssertionError, match="fail is enqueued not at all; expected: at least one"):
        assert_enqueued("fail")


def test_without_a_name_any_job_will_do():
    assert_not_enqueued()
    Job.objects.create(name="note")

    assert len(assert_enqueued()) == 1


def test_a_job_that_has_run_is_not_enqueued_any_more():
    Job.objects.create(name="note")
    run_jobs()

    assert_not_enqueued("note")


def test_a_job_that_waits_for_another_attempt_is_enqueued():
    Job.objects.create(name="third_time_lucky")
    run_jobs()

    assert_enqueued("third_time_lucky")


def test_a_misspelt_name_is_an_error_and_not_a_job_that_is_not_enqueued():
    with pytest.raises(JobNotDeclared, match="nota"):
        assert_not_enqueued("nota")


def test_what_has_a_jobs_name_is_asked_for_by_that():
    def function(job):
        """As @job leaves it."""

    function.job_name = "note"
    Job.objects.create(name="note")

    assert_enqueued(function)


def test_what_is_neither_a_name_nor_a_django_task_is_refused():
    with pytest.raises(TypeError, match="a job's name or a Django task"):
        assert_enqueued(chores.note)


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ({"workspace": {"n": 1, "pair": (1, 2)}}, {"workspace": {"n": 1}}),
        ({"workspace": {"n": mock.ANY, "pair": mock.ANY}}, {"workspace": {"n": mock.ANY}}),
        ({"queue_name": "mail"}, {"queue_name": "default"}),
        ({"priority": 7}, {"priority": 0}),
        ({"run_after": timedelta(hours=1)}, {"run_after": timedelta(hours=2)}),
        ({"run_after": timedelta(hours=1)}, {"run_after": None}),
        ({"priority": 7, "queue_name": "mail"}, {"priority": 7, "queue_name": "default"}),
    ],
)
def test_a_job_is_found_only_if_all_that_is_asked_is_equal(given, other):
    Job.objects.create(
        name="note",
        workspace={"n": 1, "pair": [1, 2]},
        queue_name="mail",
        priority=7,
        run_after=timezone.now() + timedelta(hours=1),
    )

    assert_enqueued("note", **given)
    assert_not_enqueued("note", **other)


def test_a_due_time_is_compared_exactly_and_none_is_a_job_without_one():
    due = timezone.now() + timedelta(hours=1)
    Job.objects.create(name="note", run_after=due)
    Job.objects.create(name="fail")

    assert_enqueued("note", run_after=due)
    assert_not_enqueued("note", run_after=due + timedelta(microseconds=1))
    assert_enqueued("fail", run_after=None)
    assert_not_enqueued("fail", run_after=due)


def test_assert_enqueued_counts_exactly():
    for _ in range(2):
        Job.objects.create(name="note")

    assert len(assert_enqueued("note", count=2)) == len(assert_enqueued("note")) == 2
    for count in (0, 1, 3):
        with pytest.raises(AssertionError, match=f"2 times; expected: exactly {count}"):
            assert_enqueued("note", count=count)
    with pytest.raises(TypeError, match="count"):
        assert_not_enqueued("note", count=2)


def test_a_job_of_jobs_has_no_arguments():
    Job.objects.create(name="note", workspace={"args": [1]})

    assert_not_enqueued("note", args=[1])


def test_the_message_lists_what_is_enqueued_and_what_is_not_any_more():
    Job.objects.create(name="fail", workspace={"x": "y"})
    run_jobs()
    due = timezone.now() + timedelta(hours=1)
    Job.objects.create(name="note", workspace={"n": 1}, run_after=due)
    Job.objects.create(name="fail", queue_name="mail", priority=-1)

    with pytest.raises(AssertionError) as caught:
        assert_enqueued("note", workspace={"n": 2})

    lines = str(caught.value).splitlines()
    rest = "queue_name='default' priority=0"
    assert lines == [
        "note with workspace={'n': 2} is enqueued not at all; expected: at least one.",
        "Enqueued:",
        f"  note workspace={{'n': 1}} {rest} run_after={due.isoformat()!r}",
        "  fail workspace={} queue_name='mail' priority=-1",
        "Not any more:",
        f"  fail workspace={{'x': 'y'}} {rest} FAILED",
    ]


def test_the_message_says_when_nothing_is_enqueued():
    with pytest.raises(AssertionError, match="Nothing is enqueued"):
        assert_enqueued("note")


def test_the_message_does_not_list_jobs_by_the_thousand():
    queue.enqueue_many("note", ({"n": n} for n in range(50)))

    with pytest.raises(AssertionError, match="and 30 more") as caught:
        assert_enqueued("fail")

    assert len(str(caught.value).splitlines()) == 23


@pytest.mark.django_db(databases=["default", "other"])
def test_another_database_is_asked_when_it_is_named():
    queue.enqueue("note", using="other")

    assert_not_enqueued("note")
    assert_enqueued("note", using="other")


# Capturing


def test_jobs_that_come_by_any_door_are_captured_in_their_order():
    Job.objects.create(name="note", workspace={"n": "before"})
    with captured_jobs() as jobs:
        Job.objects.create(name="note", workspace={"n": 0}, priority=-1)
        Job.objects.bulk_create([Job(name="note", workspace={"n": n}) for n in (1, 2)])
        queue.enqueue("note", {"n": 3}, priority=9)
        queue.enqueue_many("note", ({"n": n} for n in range(4, 9)))
        Job(name="note", workspace={"n": 9}).save()
    Job.objects.create(name="note", workspace={"n": "after"})

    assert numbers(jobs) == list(range(10))


def test_no_job_is_captured_where_none_comes():
    Job.objects.create(name="note")
    with captured_jobs() as jobs:
        pass

    assert jobs == []


def test_jobs_that_tasks_enqueue_are_captured_and_are_what_they_have_become():
    Job.objects.create(name="parent")
    with captured_jobs() as jobs:
        run_jobs()

    assert [(job.name, job.state) for job in jobs] == [("note", "COMPLETE")]


def test_a_job_that_was_rolled_back_is_not_captured():
    with captured_jobs() as jobs:
        with transaction.atomic():
            Job.objects.create(name="note")
            transaction.set_rollback(True)
        Job.objects.create(name="fail")

    assert [job.name for job in jobs] == ["fail"]


def test_an_error_in_the_block_passes():
    with pytest.raises(ValueError, match="oh"), captured_jobs():
        raise ValueError("oh")


@pytest.mark.django_db(databases=["default", "other"])
def test_jobs_of_another_database_are_captured_when_it_is_named():
    with captured_jobs(using="other") as jobs:
        queue.enqueue("note", using="other")
        queue.enqueue("fail")

    assert [job.name for job in jobs] == ["note"]


@pytest.mark.parametrize("assertion", [assert_enqueued, assert_not_enqueued])
def test_a_path_at_which_there_is_no_task_is_a_mistake_of_the_test(assertion):
    with pytest.raises((JobNotDeclared, InvalidDeclaration)):
        assertion("tests.doors.chores.mispelt")


def test_what_is_given_as_its_time_may_be_anything_that_can_be_compared():
    Job.objects.create(name="note", run_after=timezone.now())

    assert assert_enqueued("note", run_after=mock.ANY)
    assert_not_enqueued("note", run_after="never")
