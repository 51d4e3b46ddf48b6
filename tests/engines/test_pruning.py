"""Sweep: which finished jobs have been kept for long enough, and how they go."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction  # noqa: F401 (named in a mark)

from django_dbq import queue
from django_dbq.engines.pruning import IDS_AHEAD_AT_MOST
from django_dbq.models import Attempt, Job
from django_dbq.models.sweep import Sweep
from django_dbq.rules.identifiers import first_id_of
from django_dbq.rules.states import FINAL, State
from django_dbq.settings import Retention
from tests.engines.conftest import NOW

DAY, HOUR = timedelta(days=1), timedelta(hours=1)

NOT_FINAL = [state for state in State if state not in FINAL]


@pytest.fixture
def finished(job_row):
    """A job that came to its end so long ago."""

    def finished(ago=DAY, *, state=State.COMPLETE, name="noop", **columns):
        columns.setdefault("finished_at", NOW - ago)
        return job_row(name, state=state, modified=NOW - ago, **columns)

    return finished


def kept_for(age=DAY, *, by_name=None, **ages):
    by_state = {**dict.fromkeys(FINAL, age), **ages}
    return Retention(by_state, by_name or {})


def swept(engine, retention, *, size=100):
    """Sweep to the end; how many jobs went in each page."""
    sweep, pages = engine.sweep(retention, now=NOW), []
    while not sweep.is_done:
        pages.append(sweep.delete_next(size))
    return pages


def attempt_of(job):
    return Attempt.objects.create(
        job_id=job.pk, job_name=job.name, task="t", number=1, started_at=NOW, finished_at=NOW
    )


@pytest.mark.parametrize("state", FINAL)
def test_a_finished_job_goes_when_it_has_been_finished_for_its_age(engine, finished, state):
    finished(DAY, state=state)
    young = finished(DAY - timedelta(seconds=1), state=state)
    swept(engine, kept_for(DAY))

    assert list(Job.objects.all()) == [young]


def test_the_age_counts_from_the_end_of_a_job_and_not_from_its_creation(engine, finished):
    late = finished(HOUR, minutes_old=60 * 24 * 30)
    swept(engine, kept_for(DAY))

    assert list(Job.objects.all()) == [late]


def test_a_job_that_a_3_3_worker_finished_counts_from_its_last_write(engine, finished):
    finished(DAY, finished_at=None)
    young = finished(HOUR, finished_at=None)
    swept(engine, kept_for(DAY))

    assert list(Job.objects.all()) == [young]


@pytest.mark.parametrize("state", NOT_FINAL)
def test_a_job_that_is_not_finished_stays_whatever_its_age(engine, finished, state):
    finished(1_000 * DAY, state=state)
    swept(engine, kept_for(timedelta(0)))

    assert Job.objects.count() == 1


def test_each_state_has_its_age_and_none_is_for_ever(engine, finished):
    finished(2 * DAY, state=State.COMPLETE)
    failed = finished(2 * DAY, state=State.FAILED)
    finished(31 * DAY, state=State.FAILED)
    cancelled = finished(1_000 * DAY, state=State.CANCELLED)
    swept(engine, kept_for(COMPLETE=DAY, FAILED=30 * DAY, CANCELLED=None))

    assert set(Job.objects.all()) == {failed, cancelled}


def test_a_name_may_have_ages_of_its_own(engine, finished):
    of_its_own = {**dict.fromkeys(FINAL, HOUR), "FAILED": None}
    finished(2 * HOUR, name="short_form")
    failed = finished(1_000 * DAY, name="short_form", state=State.FAILED)
    young = finished(2 * HOUR)
    finished(2 * DAY)
    swept(engine, kept_for(DAY, by_name={"short_form": of_its_own}))

    assert set(Job.objects.all()) == {failed, young}


def test_where_only_a_name_has_an_age_all_others_stay(engine, finished):
    finished(DAY, name="short_form")
    other = finished(1_000 * DAY)
    swept(engine, kept_for(None, by_name={"short_form": dict.fromkeys(FINAL, DAY)}))

    assert list(Job.objects.all()) == [other]


def test_it_goes_page_by_page_and_passes_what_stays_once(engine, finished):
    for number in range(6):
        finished(DAY, state=State.COMPLETE if number % 2 else State.FAILED)

    assert swept(engine, kept_for(FAILED=None), size=2) == [1, 1, 1, 0, 0]
    assert set(Job.objects.values_list("state", flat=True)) == {State.FAILED}


def test_jobs_too_young_to_be_over_are_not_looked_at(engine, finished):
    when = {"of old": NOW - 2 * DAY, "young": NOW - HOUR, "of a fast clock": NOW + 2 * DAY}
    ids = {word: first_id_of(moment) for word, moment in when.items()}
    for word, pk in ids.items():
        Job.objects.filter(pk=finished(DAY).pk).update(id=pk, name=word)
    assert IDS_AHEAD_AT_MOST < 2 * DAY
    swept(engine, kept_for(DAY))

    assert list(Job.objects.values_list("pk", flat=True)) == [ids["young"]]


@pytest.mark.parametrize(
    "pk", ["00000000-0000-4000-8000-000000000001", "ffffffff-ffff-4fff-bfff-ffffffffffff"]
)
def test_random_ids_of_3_3_are_reached_wherever_they_sort(engine, finished, pk):
    Job.objects.filter(pk=finished(DAY).pk).update(id=pk)
    swept(engine, kept_for(DAY))

    assert not Job.objects.exists()


def test_the_stories_of_a_job_go_with_it(engine, finished):
    gone, kept = finished(DAY), finished(HOUR)
    attempt_of(gone)
    attempt_of(gone)
    left = attempt_of(kept)
    swept(engine, kept_for(DAY))

    assert list(Attempt.objects.all()) == [left]


def test_a_job_that_was_set_going_after_it_was_chosen_stays_with_its_stories(
    engine, finished, monkeypatch
):
    job = finished(DAY, state=State.FAILED)
    attempt_of(job)
    delete = Sweep._delete

    def rerun_and_delete(sweep, ids):
        queue.rerun(job)
        return delete(sweep, ids)

    monkeypatch.setattr(Sweep, "_delete", rerun_and_delete)

    assert sum(swept(engine, kept_for(DAY))) == 0
    assert Attempt.objects.get().job_id == Job.objects.get().pk


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has no row locks")
def test_a_job_that_another_transaction_has_locked_is_left_to_the_next_sweep(
    shared_engine, finished, side_by_side
):
    locked, _ = finished(DAY), finished(DAY)
    with transaction.atomic():
        Job.objects.select_for_update().get(pk=locked.pk)
        (pages,) = side_by_side(lambda _: swept(shared_engine, kept_for(DAY)), threads=1)
    assert sum(pages) == 1
    assert list(Job.objects.all()) == [locked]

    swept(shared_engine, kept_for(DAY))
    assert not Job.objects.exists()


def test_two_sweeps_at_once_delete_each_job_once(shared_engine, finished, side_by_side):
    for _ in range(40):
        finished(DAY)
    pages = side_by_side(lambda _: swept(shared_engine, kept_for(DAY), size=5), threads=2)

    assert sum(sum(each) for each in pages) == 40
    assert not Job.objects.exists()


def test_an_age_from_before_there_were_years_is_as_good_as_for_ever(engine, finished):
    finished(DAY)
    swept(engine, kept_for(timedelta.max))

    assert Job.objects.exists()


def test_the_database_sorts_new_ids_by_time(engine):
    assert engine.ids_follow_time


def test_the_eldest_worker_is_the_first_registered_of_those_that_are_heard(engine):
    def register(ago):
        return engine.register(hostname="h", pid=1, queues=[], threads=1, now=NOW - ago).pk

    register(timedelta(minutes=2))
    eldest, _ = register(timedelta(0)), register(timedelta(0))

    assert engine.eldest_worker(heard_since=NOW - timedelta(minutes=1)) == eldest
    assert engine.eldest_worker(heard_since=NOW + timedelta(minutes=1)) is None
