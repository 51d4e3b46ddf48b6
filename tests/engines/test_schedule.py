"""Jobs with a `run_after`: not before it, and then where priority and age put them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_dbq.models import Job
from django_dbq.rules.states import State
from tests.engines.conftest import NOW, ids, row

SECOND = timedelta(seconds=1)


def test_a_job_is_not_claimed_before_its_time(claim, job_row):
    job_row(run_after=NOW + SECOND)

    assert claim() == []


def test_a_job_is_claimed_from_its_time_on(claim, job_row):
    at_once, past = job_row(run_after=NOW), job_row(run_after=NOW - SECOND)

    assert set(ids(claim(2))) == {at_once.pk, past.pk}


def test_a_due_job_takes_its_place_by_priority_and_age_and_not_by_its_time(claim, job_row):
    due_late_but_old = job_row(minutes_old=9, run_after=NOW - SECOND)
    due_long_but_new = job_row(minutes_old=1, run_after=NOW - 90 * SECOND)
    plain = job_row(minutes_old=5)
    urgent = job_row(priority=1, run_after=NOW)

    order = [urgent, due_late_but_old, plain, due_long_but_new]
    assert ids(claim(4)) == ids(order)


def test_due_jobs_of_one_queue_do_not_stand_in_another(claim, job_row):
    job_row(run_after=NOW - SECOND, queue_name="other")

    assert claim() == []
    assert len(claim(1, "other")) == 1


def test_a_due_job_behind_a_gate_is_not_claimed(claim, job_row):
    job_row(run_after=NOW - SECOND, gate=1)

    assert claim() == []


def test_a_job_whose_time_was_put_off_after_it_fell_due_waits_for_the_new_time(claim, job_row):
    job = job_row(run_after=NOW - SECOND)
    job_row(run_after=NOW - SECOND, priority=1)
    claim(1)  # takes the other one, and sees that ours is due
    assert row(job).is_due

    job = row(job)
    job.run_after = NOW + 60 * SECOND
    job.save()

    assert claim(now=NOW + 59 * SECOND) == []
    assert ids(claim(now=NOW + 60 * SECOND)) == [job.pk]


def test_a_job_whose_time_was_put_off_by_an_update_waits_for_the_new_time(claim, job_row):
    job = job_row(run_after=NOW - SECOND, is_due=True)
    Job.objects.filter(pk=job.pk).update(run_after=NOW + 60 * SECOND)

    assert claim() == []
    assert ids(claim(now=NOW + 60 * SECOND)) == [job.pk]


def test_a_job_whose_time_was_taken_away_is_claimed_at_once(claim, job_row):
    job = job_row(run_after=NOW + 60 * SECOND)
    Job.objects.filter(pk=job.pk).update(run_after=None)

    assert ids(claim()) == [job.pk]


def test_a_job_whose_time_was_brought_forward_is_claimed_then(claim, job_row):
    job = job_row(run_after=NOW + 60 * SECOND)
    Job.objects.filter(pk=job.pk).update(run_after=NOW)

    assert ids(claim()) == [job.pk]


@pytest.mark.parametrize("limit", [1, 3])
def test_of_more_due_jobs_than_are_wanted_the_others_are_left(claim, job_row, limit):
    for number in range(5):
        job_row(run_after=NOW - SECOND, minutes_old=number)

    assert len(claim(limit)) == limit
    assert Job.objects.filter(state=State.NEW).count() == 5 - limit
