"""Jobs with a `run_after`: not before it, and then where priority and age put them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from django_dbq.engines import Claim, engine_for
from django_dbq.models import Job
from django_dbq.rules.states import State
from tests.engines.conftest import DEATH, NOW, ids, row

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


NO_TIMES_OF_PYTHON = ["infinity", "-infinity", "10000-01-01 00:00Z", "0044-03-15 12:00Z BC"]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="others have no such times")
@pytest.mark.parametrize("moment", NO_TIMES_OF_PYTHON)
def test_a_job_with_a_time_that_python_does_not_have_holds_up_no_other(job_row, moment):
    engine = engine_for("default")
    odd, sound = job_row(queue_name="odd"), job_row(run_after=NOW - SECOND)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_dbq_job SET run_after = %s WHERE id = %s", [moment, odd.pk])

    def claim(*queues):
        return engine.claim(Claim(queues, limit=9, worker_id=1, now=NOW))

    is_past = moment.startswith("-") or moment.endswith("BC")
    expected = {sound.pk, odd.pk} if is_past else {sound.pk}
    assert (engine.next_due(["odd"], now=NOW) < NOW) == is_past
    assert {queue for _, queue in engine.soonest()} == {"odd", "default"}
    claimed = claim("*") + claim("odd", "default")
    assert set(ids(claimed)) == expected

    held = {"state": State.PROCESSING, "worker_id": 1, "attempts": 1}
    Job.objects.filter(pk=odd.pk).update(**held)
    assert engine.hand_back_unknown(1, known=[], now=NOW) == len(expected | {odd.pk})
    Job.objects.filter(pk=odd.pk).update(**held)
    assert engine.rescue(1, DEATH, now=NOW) == 1
