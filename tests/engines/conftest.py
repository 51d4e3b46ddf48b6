"""What the conformance tests share. They run on each database; a verb exists when they pass there.

`now` is an argument of the verbs, so that time passes here when a test says so.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from django.db import connections

from django_dbq.engines import Claim, engine_for
from django_dbq.models import Job
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import Failure

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=timezone.utc)

PATIENCE_SECONDS = 30

# Of a worker that nothing can be blamed on: no job is charged, and no story kept.
DEATH = Death("host:7", "it was made to end", is_crash=False)


@pytest.fixture(params=["the engine of this database", "the portable engine"])
def engine(request, db):
    """Every verb has two answers: the database's own, and the portable one that specifies it."""
    from django_dbq.engines import Engine

    if request.param == "the portable engine":
        return Engine("default")
    return engine_for("default")


@pytest.fixture
def shared_engine(transactional_db):
    """The database's engine, on rows that other connections see."""
    engine = engine_for("default")
    engine.get_ready()
    return engine


@pytest.fixture
def job_row(db):
    """Insert a job, and give its row these values, whatever the model thinks of them."""

    def job_row(name="noop", *, minutes_old=0, **columns):
        job = Job.objects.create(name=name, run_after=columns.pop("run_after", None))
        columns["created"] = NOW - timedelta(minutes=minutes_old)
        Job.objects.filter(pk=job.pk).update(**columns)
        return Job.objects.get(pk=job.pk)

    return job_row


@pytest.fixture
def claim(engine):
    """Claim up to `limit` jobs as worker 1, and return them."""

    def claim(limit=1, *queues, worker_id=1, now=NOW):
        return engine.claim(Claim(queues or ["default"], limit=limit, worker_id=worker_id, now=now))

    return claim


@pytest.fixture
def side_by_side():
    """Call a function in several threads, each with its own connection; the list of answers."""

    def call(function, number):
        try:
            return function(number)
        finally:
            connections.close_all()

    def side_by_side(function, *, threads):
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(call, function, number) for number in range(threads)]
            return [future.result(PATIENCE_SECONDS) for future in futures]

    return side_by_side


def row(job):
    """The job as its row is now."""
    return Job.objects.get(pk=job.pk)


def values(job):
    """All that stands in the job's row."""
    return Job.objects.filter(pk=job.pk).values().first()


def ids(jobs):
    return [job.pk for job in jobs]


def story(job, message="no luck", *, minutes_ago=1):
    """The story of a failed attempt at the job's task."""
    return Failure(
        task=job.next_task,
        number=job.attempts,
        exception="builtins.ValueError",
        message=message,
        traceback=f"Traceback …\nValueError: {message}\n",
        started_at=NOW - timedelta(minutes=minutes_ago),
        finished_at=NOW,
    )
