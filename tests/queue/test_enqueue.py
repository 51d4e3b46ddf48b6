"""What an application calls to put jobs in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_dbq import queue
from django_dbq.exceptions import InvalidJob, JobNotDeclared, WorkspaceNotJSON
from django_dbq.models import Job
from django_dbq.rules.states import State

pytestmark = pytest.mark.django_db

LATER = timezone.now() + timedelta(hours=1)


def test_a_job_is_enqueued_with_what_it_was_given():
    fields = {"queue_name": "mail", "priority": 5, "run_after": LATER}
    job = queue.enqueue("three_steps", {"to": "you"}, **fields)
    job.refresh_from_db()

    assert (job.name, job.workspace, job.state) == ("three_steps", {"to": "you"}, State.NEW)
    assert (job.queue_name, job.priority, job.run_after) == ("mail", 5, LATER)
    assert job.next_task == "tests.project.tasks.append_first"


def test_the_defaults_are_those_of_the_model():
    job = queue.enqueue("noop")

    assert (job.queue_name, job.priority, job.run_after) == ("default", 0, None)
    assert job.workspace == {}


def test_many_jobs_are_enqueued_from_any_iterable():
    fields = {"queue_name": "mail", "priority": 5, "run_after": LATER}
    assert queue.enqueue_many("noop", ({"number": n} for n in range(30)), **fields) == 30

    assert Job.objects.filter(name="noop", state=State.NEW, **fields).count() == 30
    assert {job.workspace["number"] for job in Job.objects.all()} == set(range(30))


def test_creation_hooks_run_for_each_of_many():
    assert queue.enqueue_many("with_hooks", ({"number": n} for n in range(5))) == 5

    for job in Job.objects.all():
        assert job.workspace["log"] == ["creation hook"]


@pytest.mark.parametrize("name", ["noop", "with_hooks"])
def test_of_many_jobs_none_is_enqueued_when_one_is_bad(name):
    workspaces = [{"number": n} for n in range(1_500)]
    workspaces[1_200] = {"bad": object()}
    with pytest.raises(WorkspaceNotJSON):
        queue.enqueue_many(name, workspaces)

    assert not Job.objects.exists()


def test_no_workspaces_are_no_jobs():
    assert queue.enqueue_many("noop", []) == 0


@pytest.mark.parametrize("enqueue", [queue.enqueue, lambda name: queue.enqueue_many(name, [{}])])
def test_a_name_that_is_not_declared_is_refused(enqueue):
    with pytest.raises(JobNotDeclared):
        enqueue("nobody knows it")


@pytest.mark.parametrize(
    "values",
    [
        {"queue_name": "q" * 21},
        {"priority": 32_768},
        {"priority": -32_769},
        {"run_after": LATER.replace(tzinfo=None)},
    ],
    ids=str,
)
@pytest.mark.parametrize("many", [False, True])
def test_what_does_not_fit_is_refused_before_the_insert(values, many):
    def enqueue():
        return (
            queue.enqueue_many("noop", [{}], **values) if many else queue.enqueue("noop", **values)
        )

    with pytest.raises(InvalidJob) as raised:
        enqueue()

    assert raised.value.field in values


@pytest.mark.parametrize("bad", [{"a": {1}}, {"a": float("nan")}, {"a": LATER}, {("a",): 1}])
def test_a_workspace_that_is_not_json_is_a_type_error_before_the_insert(bad):
    with pytest.raises(TypeError):
        queue.enqueue("noop", bad)

    assert not Job.objects.exists()


def test_jobs_belong_to_the_caller_s_transaction():
    with transaction.atomic():
        queue.enqueue("noop")
        queue.enqueue_many("noop", [{}, {}])
        transaction.set_rollback(True)

    assert not Job.objects.exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_jobs_go_to_the_database_that_is_named():
    queue.enqueue("noop", using="other")
    queue.enqueue_many("noop", [{}, {}], using="other")

    assert not Job.objects.exists()
    assert Job.objects.using("other").count() == 3
    assert queue.depths(using="other") == {"default": 3}


def test_plain_bulk_create_just_works():
    jobs = Job.objects.bulk_create(
        [Job(name="three_steps"), Job(name="with_hooks", workspace={"a": 1})]
    )

    assert [job.next_task for job in jobs] == ["tests.project.tasks.append_first"] * 2
    assert jobs[1].workspace == {"a": 1, "log": ["creation hook"]}
    assert Job.objects.count() == 2


def test_bulk_create_takes_a_generator_in_batches():
    Job.objects.bulk_create((Job(name="noop") for _ in range(25)), batch_size=10)

    assert Job.objects.count() == 25


def test_depths_leave_out_future_jobs_on_request():
    queue.enqueue("noop", queue_name="a")
    queue.enqueue("noop", queue_name="a", run_after=LATER)

    assert queue.depths() == {"a": 2}
    assert queue.depths(exclude_future_jobs=True) == {"a": 1}
