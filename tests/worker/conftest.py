"""What the tests of the worker share: they run it in this process, on this test's database."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import FunctionType

import pytest

from django_dbq.clock import DatabaseClock
from django_dbq.engines import Claim, engine_for
from django_dbq.models import Job
from django_dbq.worker.acknowledger import Acknowledger
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.loop import Worker
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.registration import Lease
from tests.worker import functions

numbers: dict[FunctionType, int] = {}
"""Never another one's: what a function is, is remembered by its path."""


@pytest.fixture
def declare(settings, monkeypatch):
    """Declare the job "job": its tasks in order, hooks and other options by their key."""

    def path_of(function):
        name = f"function_{numbers.setdefault(function, len(numbers))}"
        monkeypatch.setattr(functions, name, function, raising=False)
        return f"{functions.__name__}.{name}"

    def declare(*tasks, **options):
        entry = {"tasks": [path_of(task) for task in tasks]}
        for key, option in options.items():
            entry[key] = path_of(option) if isinstance(option, FunctionType) else option
        settings.JOBS = {**settings.JOBS, "job": entry}

    return declare


@pytest.fixture
def engine():
    return engine_for("default")


@pytest.fixture
def claimed(engine):
    """Enqueue a job and claim it, as worker 1."""

    def claimed(workspace=None, **fields):
        pk = Job.objects.create(name="job", workspace=workspace, **fields).pk
        (job,) = engine.claim(
            Claim([fields.get("queue_name", "default")], limit=1, worker_id=1, now=now())
        )
        assert job.pk == pk
        return job

    return claimed


@pytest.fixture
def acknowledger(engine):
    return Acknowledger(engine, DatabaseClock(engine.now), worker="host:1")


@pytest.fixture
def held(engine):
    """Enqueue and claim so many jobs."""

    def held(count):
        engine.insert_alike(Job(name="noop"), ({} for _ in range(count)))
        return engine.claim(Claim(["default"], limit=count, worker_id=1, now=now()))

    return held


@pytest.fixture
def worker(engine):
    """A worker without a rate limit, which nobody has started."""
    options = WorkerOptions(rate_limit_seconds=0)
    lease = Lease(timedelta(seconds=60))
    return Worker(options, engine, worker_id=1, lease=lease, ledger=Ledger(1))


def nothing(job):
    """A task that does nothing."""


def raising(error):
    """A task or hook that raises it."""

    def function(job, *args):
        raise error

    return function


def now():
    return datetime.now(timezone.utc)


def row(job):
    """The job as its row is now."""
    return Job.objects.get(pk=job.pk)
