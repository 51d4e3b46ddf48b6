"""Any living worker gives back what dead ones hold."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from django_dbq.engines import Claim, engine_for
from django_dbq.maintenance.rescuer import rescue_abandoned, rescue_silent
from django_dbq.models import Attempt, Job, WorkerProcess
from django_dbq.rules.silence import Silence
from django_dbq.rules.states import State

pytestmark = pytest.mark.django_db

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=timezone.utc)
LEASE = timedelta(seconds=10)


@pytest.fixture
def engine():
    return engine_for("default")


@pytest.fixture
def rescue(engine):
    """Rescue from the silent, as a supervisor that has looked at them once, so many seconds ago."""

    def rescue(*, now=NOW, looked_seconds_ago=6):
        silence = Silence()
        silence.note(engine.last_heartbeats(), at=100)
        return rescue_silent(engine, silence, lease=LEASE, now=now, at=100 + looked_seconds_ago)

    return rescue


def worker_seen(engine, moment):
    facts = {"hostname": "web-1", "pid": 4711, "queues": ["default"], "threads": 1}
    return engine.register(**facts, now=moment).pk


def job_held_by(engine, worker_id):
    job = Job.objects.create(name="noop")
    engine.claim(Claim(["default"], limit=1, worker_id=worker_id, now=NOW + timedelta(days=3650)))
    return job


def state_of(job):
    return Job.objects.get(pk=job.pk).state


def test_a_silent_worker_loses_its_jobs_and_its_row(engine, rescue):
    silent = worker_seen(engine, NOW - LEASE - timedelta(seconds=1))
    job = job_held_by(engine, silent)

    assert rescue() == 1

    assert state_of(job) == State.READY
    assert not WorkerProcess.objects.filter(pk=silent).exists()


def test_a_worker_heard_within_the_lease_keeps_its_jobs(engine, rescue):
    heard = worker_seen(engine, NOW - LEASE + timedelta(seconds=1))
    job = job_held_by(engine, heard)

    assert rescue() == 0

    assert state_of(job) == State.PROCESSING
    assert WorkerProcess.objects.filter(pk=heard).exists()


def test_a_claim_that_arrives_after_its_worker_was_buried_is_rescued_too(engine, rescue):
    buried = worker_seen(engine, NOW)
    engine.deregister(buried)
    job = job_held_by(engine, buried)

    assert rescue() == 1

    assert state_of(job) == State.READY


def test_a_job_without_an_owner_is_left_to_the_3_3_worker_that_may_run_it(engine, rescue):
    job = job_held_by(engine, None)

    assert rescue(now=NOW + timedelta(days=1)) == 0

    assert state_of(job) == State.PROCESSING


def test_the_story_of_a_death_names_the_worker_and_the_cause(engine, rescue, caplog):
    silent = worker_seen(engine, NOW - LEASE - timedelta(seconds=1))
    job = job_held_by(engine, silent)
    rescue()

    attempt = Attempt.objects.get(job_id=job.pk)
    assert attempt.worker == "web-1:4711"
    assert "no heartbeat for 10 s" in attempt.message
    assert f"Worker {silent} is taken for dead; jobs given back: 1." in caplog.text
    assert "web-1:4711" in caplog.text


def test_who_is_heard_lives_though_the_clock_was_set_forward_since(engine, rescue):
    """Or summer has ended, and USE_TZ is off."""
    heard = worker_seen(engine, NOW)
    job = job_held_by(engine, heard)

    assert rescue(now=NOW + timedelta(hours=1), looked_seconds_ago=2) == 0

    assert state_of(job) == State.PROCESSING


def test_who_is_silent_is_dead_though_the_clock_was_set_back_since(engine, rescue):
    silent = worker_seen(engine, NOW)
    job = job_held_by(engine, silent)

    assert rescue(now=NOW - timedelta(hours=1), looked_seconds_ago=9) == 0
    assert rescue(now=NOW - timedelta(hours=1), looked_seconds_ago=11) == 1

    assert state_of(job) == State.READY


class SessionsEnded:
    """This database's engine, and all sessions are found to have ended."""

    def __init__(self, engine):
        self._engine, self.asked = engine, None

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def abandoned_workers(self, *, unseen_since):
        self.asked = unseen_since
        return self._engine.silent_workers(since=unseen_since)


def test_a_worker_whose_session_has_ended_loses_its_jobs_long_before_its_lease_is_over(engine):
    abandoned = worker_seen(engine, NOW - timedelta(seconds=2))
    lately = worker_seen(engine, NOW - timedelta(seconds=1))
    job, kept = job_held_by(engine, abandoned), job_held_by(engine, lately)

    assert rescue_abandoned(SessionsEnded(engine), now=NOW) == 1

    assert (state_of(job), state_of(kept)) == (State.READY, State.PROCESSING)
    assert WorkerProcess.objects.get().pk == lately
    assert "session has ended" in Attempt.objects.get(job_id=job.pk).message
