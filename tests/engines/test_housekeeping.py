"""Prune, and count."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_dbq.models import Attempt, Job
from django_dbq.rules.states import FINAL, State
from tests.engines.conftest import NOW

TEN_MINUTES_AGO = NOW - timedelta(minutes=10)

LIVING = [state for state in State if state not in FINAL and state != State.STOPPING]


def attempt_of(job):
    return Attempt.objects.create(
        job_id=job.pk, job_name=job.name, task="t", number=1, started_at=NOW, finished_at=NOW
    )


@pytest.mark.parametrize("state", FINAL)
def test_finished_jobs_go_from_a_certain_age_on(engine, job_row, state):
    job_row(state=state, minutes_old=10)
    young = job_row(state=state, minutes_old=9)

    assert engine.prune(created_before=TEN_MINUTES_AGO, limit=10) == 1
    assert list(Job.objects.all()) == [young]


@pytest.mark.parametrize("state", LIVING)
def test_jobs_that_wait_or_run_stay_whatever_their_age(engine, job_row, state):
    job_row(state=state, minutes_old=10_000, worker_id=99)

    assert engine.prune(created_before=TEN_MINUTES_AGO, limit=10) == 0
    assert Job.objects.exists()


def test_pruning_goes_in_batches_the_oldest_first(engine, job_row):
    jobs = [job_row(state=State.COMPLETE, minutes_old=30 - number) for number in range(7)]

    assert engine.prune(created_before=TEN_MINUTES_AGO, limit=3) == 3
    assert set(Job.objects.all()) == set(jobs[3:])
    assert engine.prune(created_before=TEN_MINUTES_AGO, limit=3) == 3
    assert engine.prune(created_before=TEN_MINUTES_AGO, limit=3) == 1
    assert engine.prune(created_before=TEN_MINUTES_AGO, limit=3) == 0


def test_the_stories_of_a_job_go_with_it(engine, job_row):
    gone, kept = job_row(state=State.FAILED, minutes_old=20), job_row(state=State.FAILED)
    attempt_of(gone)
    attempt_of(gone)
    left = attempt_of(kept)
    engine.prune(created_before=TEN_MINUTES_AGO, limit=10)

    assert list(Attempt.objects.all()) == [left]


def test_a_stopping_job_goes_when_no_living_worker_holds_it(engine, job_row):
    now = timezone.now()  # a lease is judged by the time that it is
    alive = engine.register(hostname="h", pid=1, queues=[], threads=1, now=now)
    an_hour_ago = now - timedelta(hours=1)
    silent = engine.register(hostname="h", pid=2, queues=[], threads=1, now=an_hour_ago)
    kept = job_row(state=State.STOPPING, minutes_old=20, worker_id=alive.pk)
    job_row(state=State.STOPPING, minutes_old=20, worker_id=silent.pk)
    job_row(state=State.STOPPING, minutes_old=20, worker_id=silent.pk + 1)
    job_row(state=State.STOPPING, minutes_old=20)

    assert engine.prune(created_before=TEN_MINUTES_AGO, limit=10) == 3
    assert list(Job.objects.all()) == [kept]


def test_depths_count_what_waits_by_queue(engine, job_row):
    for state in State:
        job_row(state=state, queue_name="one")
    job_row(queue_name="two", run_after=timezone.now() + timedelta(hours=1))
    job_row(queue_name="three", state=State.COMPLETE)

    assert engine.depths() == {"one": 2, "two": 1}
    assert engine.depths(exclude_future_jobs=True) == {"one": 2}


def test_an_empty_table_has_no_depths(engine):
    assert engine.depths() == {}
