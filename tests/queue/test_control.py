"""Calling jobs off, and putting finished ones back."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

import pytest
from django.core.exceptions import ValidationError

from django_dbq import queue
from django_dbq.engines import Claim, engine_for
from django_dbq.exceptions import TaskNotDeclared, WrongState
from django_dbq.models import Attempt, Job
from django_dbq.rules.outcomes import Completed
from django_dbq.rules.states import FINAL, HELD, WAITING, State
from tests.project.routers import ReadsElsewhere

pytestmark = pytest.mark.django_db

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)


def job_in(state, **fields):
    job = Job.objects.create(name="three_steps", workspace={"kept": 1})
    Job.objects.filter(pk=job.pk).update(state=state, **fields)
    job.refresh_from_db()
    return job


# Cancel


@pytest.mark.parametrize("state", WAITING)
def test_a_waiting_job_is_called_off_at_once(state):
    job = job_in(state)

    assert queue.cancel(job, "not needed any more") == State.CANCELLED

    job.refresh_from_db()
    assert (job.state, job.cancel_reason) == (State.CANCELLED, "not needed any more")
    assert job.finished_at is not None
    assert engine_for("default").claim(Claim(["default"], limit=9, worker_id=1, now=NOW)) == []


@pytest.mark.parametrize("state", HELD)
def test_a_running_job_is_asked_to_end(state):
    job = job_in(state, worker_id=1, token=1)

    assert job.cancel("enough") == state

    job.refresh_from_db()
    assert job.state == state
    assert job.cancel_requested
    assert job.cancel_reason == "enough"
    assert engine_for("default").cancel_requests([job]) == [job.pk]


def test_a_worker_hears_only_of_its_own_jobs_that_were_called_off():
    called_off, lost, other, done = (job_in(State.PROCESSING, worker_id=1) for _ in range(4))
    for job in (called_off, lost, done):
        queue.cancel(job)
    Job.objects.filter(pk=lost.pk).update(worker_id=2)
    Job.objects.filter(pk=done.pk).update(state=State.COMPLETE)

    asked = engine_for("default").cancel_requests([called_off, lost, other, done])
    assert asked == [called_off.pk]
    assert engine_for("default").cancel_requests([]) == []


@pytest.mark.parametrize("state", FINAL)
def test_a_job_that_has_ended_stays_as_it_is(state):
    job = job_in(state)

    assert queue.cancel(job.pk, "too late") == state

    job.refresh_from_db()
    assert (job.state, job.cancel_reason, job.cancel_requested_at) == (state, None, None)


def test_many_jobs_are_called_off_at_once():
    waiting = [job_in(State.NEW), job_in(State.READY)]
    running, done = job_in(State.PROCESSING, worker_id=1), job_in(State.COMPLETE)

    assert Job.objects.filter(name="three_steps").cancel("all of them") == 3

    states = dict(Job.objects.values_list("pk", "state"))
    assert [states[job.pk] for job in waiting] == [State.CANCELLED] * 2
    assert (states[running.pk], states[done.pk]) == (State.PROCESSING, State.COMPLETE)


def test_a_worker_that_claimed_the_job_before_it_was_called_off_is_fenced_out():
    engine = engine_for("default")
    Job.objects.create(name="noop")
    (held,) = engine.claim(Claim(["default"], limit=1, worker_id=1, now=NOW))
    engine.hand_back([held], now=NOW)
    queue.cancel(held.pk)

    assert engine.acknowledge([(held, Completed())], now=NOW) == {held.pk}
    assert Job.objects.get().state == State.CANCELLED


def test_a_job_that_nobody_has_called_off_says_so():
    assert not job_in(State.PROCESSING).cancel_requested


def test_a_task_that_asks_all_the_time_asks_the_database_once_a_second(
    django_assert_num_queries,
):
    job = job_in(State.PROCESSING, worker_id=1)
    with django_assert_num_queries(1):
        assert not any(job.cancel_requested for _ in range(100))


def test_a_job_that_is_not_there_cannot_be_called_off():
    with pytest.raises(Job.DoesNotExist):
        queue.cancel(uuid.uuid4())


@pytest.mark.parametrize("verb", [queue.cancel, queue.rerun])
def test_a_text_that_is_no_id_is_refused_by_django(verb):
    with pytest.raises(ValidationError, match="not a valid UUID"):
        verb("nope")


# Rerun


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_job_that_ended_badly_goes_on_where_it_ended(state):
    place = {"next_task": "tests.project.tasks.append_second", "task_index": 1}
    job = job_in(state, **place, attempts=3, crashes=2, killed_at=NOW, cancel_requested_at=NOW)

    again = queue.rerun(job)

    assert (again.state, again.next_task, again.task_index) == (State.READY, *place.values())
    assert (again.attempts, again.crashes, again.killed_at) == (0, 0, None)
    assert (again.cancel_requested_at, again.finished_at) == (None, None)
    assert again.workspace == {"kept": 1}
    claimed = engine_for("default").claim(Claim(["default"], limit=9, worker_id=1, now=NOW))
    assert [one.pk for one in claimed] == [job.pk]


def test_a_complete_job_starts_anew():
    again = queue.rerun(job_in(State.COMPLETE, next_task="", task_index=None).pk)

    assert (again.next_task, again.task_index) == ("tests.project.tasks.append_first", 0)


@pytest.mark.parametrize("from_task", ["tests.project.tasks.append_third", 2])
def test_a_job_starts_from_the_task_that_is_asked_for(from_task):
    again = queue.rerun(job_in(State.COMPLETE), from_task=from_task)

    assert (again.next_task, again.task_index) == ("tests.project.tasks.append_third", 2)


@pytest.mark.parametrize("from_task", ["tests.project.tasks.noop", 3, -1, True])
def test_a_task_that_the_job_does_not_have_is_refused(from_task):
    job = job_in(State.COMPLETE)
    with pytest.raises(TaskNotDeclared, match=f"has no task {from_task!r}; .* 2: tests.project"):
        queue.rerun(job, from_task=from_task)
    job.refresh_from_db()
    assert job.state == State.COMPLETE


@pytest.mark.parametrize("state", [*WAITING, *HELD])
def test_a_job_that_has_not_ended_is_not_put_back(state):
    job = job_in(state, token=5)
    with pytest.raises(WrongState, match=f"is {state.value}"):
        queue.rerun(job)
    job.refresh_from_db()
    assert (job.state, job.token) == (state, 5)


def test_the_stories_of_earlier_attempts_are_kept():
    job = job_in(State.FAILED)
    Attempt.objects.create(
        job_id=job.pk, job_name="x", task="x", number=1, exception="x", started_at=NOW,
        finished_at=NOW,
    )  # fmt: skip
    queue.rerun(job)
    assert Attempt.objects.filter(job_id=job.pk).count() == 1


# Under a router that reads from a replica


@pytest.fixture
def read_from_replica(settings):
    """A job that was read there: an instance of it, which the replica has or not yet."""
    job = job_in(State.FAILED, next_task="tests.project.tasks.append_second")
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]
    job._state.db = "other"
    return job


@pytest.mark.django_db(databases=["default", "other"])
def test_a_job_that_was_read_from_a_replica_is_called_off_where_is_written(read_from_replica):
    job = read_from_replica
    Job.objects.using("default").filter(pk=job.pk).update(state=State.READY)

    assert job.cancel("enough") == State.CANCELLED
    assert Job.objects.using("default").get(pk=job.pk).cancel_reason == "enough"


@pytest.mark.django_db(databases=["default", "other"])
def test_a_job_that_was_read_from_a_replica_is_rerun_where_is_written(read_from_replica):
    assert queue.rerun(read_from_replica).state == State.READY
    assert Job.objects.using("default").get(pk=read_from_replica.pk).state == State.READY


@pytest.mark.django_db(databases=["default", "other"])
def test_the_end_of_a_job_that_was_read_from_a_replica_is_waited_for_where_is_written(
    read_from_replica,
):
    assert queue.wait_for(read_from_replica, 0).state == State.FAILED
    assert read_from_replica._state.db == "default"


@pytest.mark.django_db(databases=["default", "other"])
def test_who_says_where_a_job_is_decides_whatever_the_router_says(settings):
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]
    job = Job.objects.using("other").create(name="three_steps")

    assert queue.cancel(job.pk, using="other") == State.CANCELLED
    assert Job.objects.using("other").get(pk=job.pk).state == State.CANCELLED
    assert queue.rerun(job.pk, using="other").state == State.READY
