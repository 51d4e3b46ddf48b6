"""The queue and the priority that a declaration gives to jobs that say nothing of their own."""

from __future__ import annotations

import copy
import pickle

import pytest

from django_dbq import queue
from django_dbq.models import Job
from django_dbq.tasks import get_next_task_name

pytestmark = pytest.mark.django_db

TASKS = ["tests.project.tasks.noop"]


@pytest.fixture(autouse=True)
def declared(settings):
    settings.JOBS = {
        "report": {"tasks": TASKS, "queue_name": "reports", "priority": 7},
        "hooked": {
            "tasks": TASKS,
            "queue_name": "reports",
            "priority": 7,
            "creation_hook": "tests.project.tasks.creation_hook",
        },
        "plain": TASKS,
    }


def place(job):
    row = Job.objects.get(pk=job.pk)
    assert (row.queue_name, row.priority) == (job.queue_name, job.priority)
    return row.queue_name, row.priority


def created(name, **values):
    return Job.objects.create(name=name, **values)


def saved(name, **values):
    job = Job(name=name)
    for key, value in values.items():
        setattr(job, key, value)
    job.save()
    return job


def bulk_created(name, **values):
    return Job.objects.bulk_create([Job(name=name, **values)])[0]


def created_by_the_recipe_of_3_3(name, **values):
    job = Job(name=name, next_task=get_next_task_name(name), workspace={}, **values)
    return Job.objects.bulk_create([job])[0]


def enqueued(name, **values):
    return queue.enqueue(name, **values)


def enqueued_in_bulk(name, **values):
    assert queue.enqueue_many(name, [{}], **values) == 1
    return Job.objects.get()


WAYS = [created, saved, bulk_created, created_by_the_recipe_of_3_3, enqueued, enqueued_in_bulk]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@every_way
@pytest.mark.parametrize("name", ["report", "hooked"])
def test_a_queue_and_a_priority_that_are_not_said_are_those_that_the_job_declares(way, name):
    assert place(way(name)) == ("reports", 7)


@every_way
@pytest.mark.parametrize("name", ["report", "hooked"])
def test_a_queue_and_a_priority_that_are_said_win_even_where_they_are_the_usual_values(way, name):
    assert place(way(name, queue_name="default", priority=0)) == ("default", 0)


@every_way
def test_a_job_that_says_its_queue_or_its_priority_takes_the_other_from_its_declaration(way):
    assert place(way("report", priority=-1)) == ("reports", -1)


@every_way
def test_a_job_that_declares_no_queue_and_no_priority_has_the_usual_values(way):
    assert place(way("plain")) == ("default", 0)


def test_before_it_is_saved_a_job_has_the_usual_values_as_in_3_3():
    job = Job(name="report")

    assert (job.queue_name, job.priority) == ("default", 0)
    assert f"{job.queue_name} {job.priority}" == "default 0"


@pytest.mark.parametrize("by", [copy.copy, lambda job: pickle.loads(pickle.dumps(job))])  # noqa: S301
def test_a_queue_and_a_priority_that_are_not_said_stay_unsaid_in_a_copy(by):
    job = by(Job(name="report"))
    job.save()

    assert place(job) == ("reports", 7)


def test_the_creation_hook_sees_what_was_declared_and_can_change_it(settings):
    settings.JOBS["hooked"]["creation_hook"] = f"{__name__}.note_and_change"
    seen.clear()

    assert place(created("hooked")) == ("other", 7)
    assert seen == [("reports", 7)]


seen = []


def note_and_change(job):
    seen.append((job.queue_name, job.priority))
    job.queue_name = "other"


def test_a_job_that_is_moved_to_another_queue_stays_there():
    job = created("report")
    job.queue_name = "default"
    job.save()
    Job.objects.get(pk=job.pk).save()

    assert place(job) == ("default", 7)


def test_a_job_made_by_hand_without_a_declaration_is_taken_as_it_is():
    (job,) = Job.objects.bulk_create([Job(name="nobody knows it", next_task="app.f")])

    assert place(job) == ("default", 0)
