"""Delete what is old, and count."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_dbq.engines import engine_for
from django_dbq.models import Job
from django_dbq.rules.states import FINAL, State
from tests.engines.conftest import NOW
from tests.project.routers import ReadsElsewhere

TEN_MINUTES_AGO = NOW - timedelta(minutes=10)

LIVING = [state for state in State if state not in FINAL and state != State.STOPPING]


def prune(limit=10):
    """Have `delete_old` look at the next so many jobs; how many were old enough."""
    return Job.objects.sweep(created_before=TEN_MINUTES_AGO).delete_next(limit)


@pytest.mark.parametrize("state", FINAL)
def test_finished_jobs_go_from_a_certain_age_on(job_row, state):
    job_row(state=state, minutes_old=10)
    young = job_row(state=state, minutes_old=9)

    assert prune() == 1
    assert list(Job.objects.all()) == [young]


@pytest.mark.parametrize("state", LIVING)
def test_jobs_that_wait_or_run_stay_whatever_their_age(job_row, state):
    job_row(state=state, minutes_old=10_000, worker_id=99)

    assert prune() == 0
    assert Job.objects.exists()


def test_a_stopping_job_goes_when_no_living_worker_holds_it(engine, job_row):
    now = timezone.now()  # a lease is judged by the time that it is
    alive = engine.register(hostname="h", pid=1, queues=[], threads=1, now=now)
    an_hour_ago = now - timedelta(hours=1)
    silent = engine.register(hostname="h", pid=2, queues=[], threads=1, now=an_hour_ago)
    kept = job_row(state=State.STOPPING, minutes_old=20, worker_id=alive.pk)
    job_row(state=State.STOPPING, minutes_old=20, worker_id=silent.pk)
    job_row(state=State.STOPPING, minutes_old=20, worker_id=silent.pk + 1)
    job_row(state=State.STOPPING, minutes_old=20)

    assert prune() == 3
    assert list(Job.objects.all()) == [kept]


@pytest.mark.django_db(databases=["default", "other"])
def test_under_a_router_all_of_it_is_done_where_is_written(settings, job_row):
    now = timezone.now()
    alive = engine_for("default").register(hostname="h", pid=1, queues=[], threads=1, now=now)
    kept = job_row(state=State.STOPPING, minutes_old=20, worker_id=alive.pk)
    job_row(state=State.COMPLETE, minutes_old=20)

    settings.DATABASE_ROUTERS = [ReadsElsewhere()]
    assert prune() == 1
    assert list(Job.objects.using("default")) == [kept]


def test_depths_count_what_waits_by_queue(job_row):
    for state in State:
        job_row(state=state, queue_name="one")
    job_row(queue_name="two", run_after=timezone.now() + timedelta(hours=1))
    job_row(queue_name="three", state=State.COMPLETE)

    assert Job.get_queue_depths() == {"one": 2, "two": 1}
    assert Job.get_queue_depths(exclude_future_jobs=True) == {"one": 2}


def test_an_empty_table_has_no_depths(db):
    assert Job.get_queue_depths() == {}
