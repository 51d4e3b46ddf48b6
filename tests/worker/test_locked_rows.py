"""Rows of running jobs that somebody else has locked, for as long as a test says."""

from __future__ import annotations

import contextlib
import logging
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connections, transaction

from django_dbq.engines import engine_for
from django_dbq.models import Attempt, Job
from django_dbq.rules.outcomes import SUCCESS, Completed, Failed, Failure, HandedBack
from django_dbq.rules.states import State
from django_dbq.worker import acknowledger as acknowledger_module
from django_dbq.worker import loop as loop_module
from tests import databases
from tests.worker.conftest import now, row

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(databases.chosen() == "sqlite", reason="it locks no single rows"),
]

PATIENCE_SECONDS = 30


@pytest.fixture
def engine():
    """It does not wait for locks for long."""
    engine = engine_for("default")
    with engine.lock_timeout():
        yield engine


@pytest.fixture
def asks_at_once(monkeypatch):
    """It does not wait before it looks again whether a lock has gone."""
    monkeypatch.setattr(acknowledger_module, "LOCKED_INTERVAL_SECONDS", 0)


@contextlib.contextmanager
def locked(job, *, delete=False):
    """Somebody else's transaction that has the job's row, in this block."""
    has_it, is_over = threading.Event(), threading.Event()

    def keep():
        try:
            with transaction.atomic():
                rows = Job.objects.select_for_update().filter(pk=job.pk)
                assert len(rows) == 1
                if delete:
                    rows.delete()
                has_it.set()
                assert is_over.wait(PATIENCE_SECONDS)
        finally:
            connections.close_all()

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    assert has_it.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        is_over.set()
        thread.join(PATIENCE_SECONDS)


def states(jobs):
    return [row(job).state for job in jobs]


def test_outcomes_of_other_jobs_are_written_while_a_row_is_locked(acknowledger, held):
    first, theirs, last = jobs = held(3)
    for job in jobs:
        acknowledger.add(job, SUCCESS)
    with locked(theirs):
        assert acknowledger.flush() == [first, last]
        assert states(jobs) == [State.COMPLETE, State.PROCESSING, State.COMPLETE]
        assert (acknowledger.finished_jobs, acknowledger.locked_jobs) == (2, 1)


def test_what_was_locked_is_written_once_the_lock_has_gone(acknowledger, held, asks_at_once):
    theirs, other = held(2)
    moment = now()
    acknowledger.add(theirs, Failed(story=Failure("t", 1, "E", "no luck", "", moment, moment)))
    acknowledger.add(other, Completed({"workspace": {"by": "us"}}))
    with locked(theirs):
        assert acknowledger.flush() == [other]
        assert acknowledger.flush() == []
        assert not Attempt.objects.exists()

    assert acknowledger.flush() == [theirs]
    assert states([theirs, other]) == [State.FAILED, State.COMPLETE]
    assert Attempt.objects.get().message == "no luck"
    assert (acknowledger.finished_jobs, acknowledger.lost_jobs) == (2, 0)


def test_a_locked_row_is_no_refusal_however_often_it_is_tried(
    acknowledger, held, asks_at_once, caplog
):
    (job,) = held(1)
    acknowledger.add(job, SUCCESS)
    with locked(job):
        for _ in range(10):
            assert acknowledger.flush() == []
    acknowledger.flush()

    assert row(job).state == State.COMPLETE
    (told,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "locked" in told.message


def test_a_row_whose_lock_ends_with_its_deletion_is_lost(acknowledger, held, asks_at_once):
    (job,) = held(1)
    acknowledger.add(job, SUCCESS)
    with locked(job, delete=True):
        assert acknowledger.flush() == []

    assert acknowledger.flush() == [job]
    assert acknowledger.lost_jobs == 1


def test_a_job_that_is_not_ours_any_more_is_not_taken_for_locked(engine, held):
    mine, theirs, deleted = held(3)
    Job.objects.filter(pk=deleted.pk).delete()
    with locked(theirs):
        assert engine.locked_by_others([mine, theirs, deleted]) == {theirs.pk}
    assert engine.locked_by_others([mine, theirs, deleted]) == set()


def test_an_answer_that_was_given_up_is_no_refusal_of_the_value(
    acknowledger, held, engine, monkeypatch
):
    """The database answers other questions all the same: its disk stalls, or somebody has a lock
    that this session waits for, as behind a pooler."""
    (job,) = held(1)
    acknowledger.add(job, SUCCESS)
    tried = []

    def cut_off(*args, **options):
        tried.append(args)
        raise OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "acknowledge", cut_off)
        patch.setattr(engine, "has_given_up", lambda *, since: True)
        for _ in range(10):
            with pytest.raises(OperationalError):
                acknowledger.flush()

    assert len(tried) == 10
    assert acknowledger.flush() == [job]
    assert row(job).state == State.COMPLETE


def test_a_worker_that_is_kept_from_one_row_claims_other_jobs(worker, held):
    (job,) = held(1)
    worker.in_flight[job.pk] = job
    worker._finished(job, SUCCESS)
    following = Job.objects.create(name="noop")
    worker._has_backlog = True
    with locked(job):
        assert worker._exchange()

    assert set(worker.in_flight) == {job.pk, following.pk}


def test_a_job_whose_row_is_locked_goes_back_when_the_lock_has_gone(
    acknowledger, held, asks_at_once
):
    (job,) = held(1)
    acknowledger.add(job, HandedBack())
    with locked(job):
        assert acknowledger.flush() == []

    assert acknowledger.flush() == [job]
    assert row(job).state == State.NEW


def test_what_a_claim_took_unheard_goes_back_although_one_row_is_locked(engine, held):
    theirs, other = held(2)
    with locked(theirs):
        assert engine.hand_back_unknown(1, known=set(), now=now()) == 1
        assert states([theirs, other]) == [State.PROCESSING, State.NEW]

    assert engine.hand_back_unknown(1, known=set(), now=now()) == 1


def test_running_jobs_are_marked_as_stopping_although_one_row_is_locked(engine, held):
    theirs, other = held(2)
    with locked(theirs):
        engine.mark_stopping([theirs, other], now=now())

    assert states([theirs, other]) == [State.PROCESSING, State.STOPPING]


@pytest.mark.parametrize("grace", ["none is left", "without end"])
def test_a_worker_that_stops_leaves_a_locked_row_to_be_rescued(
    worker, held, caplog, monkeypatch, grace
):
    (job,) = held(1)
    worker.in_flight[job.pk] = job
    worker._finished(job, SUCCESS)
    worker.stop()
    with locked(job):
        worker._wind_down()
        assert job.pk in worker.in_flight, "there is time left"
        if grace == "without end":
            monkeypatch.setattr(loop_module, "LOCKED_GRACE", timedelta(0))
        else:
            worker.stop(at_once=True)
        worker._wind_down()

    assert worker.in_flight == {}
    assert str(job.pk) in caplog.text
    assert row(job).state == State.PROCESSING
