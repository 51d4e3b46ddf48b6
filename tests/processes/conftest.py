"""What tests of real `manage.py worker` processes share."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from django.db import connection

from django_dbq.engines import engine_for, ringing
from django_dbq.models import Job, WorkerProcess
from tests.compat.processes import ROOT, Process
from tests.compat.waiting import wait_until
from tests.processes import settings as process_settings

LEASE_SECONDS = 2
SLEEPY = {"DJANGO_SETTINGS_MODULE": "tests.processes.sleepy_settings"}


@pytest.fixture(autouse=True)
def jobs_of_these_tests(settings):
    settings.JOBS = process_settings.JOBS


@pytest.fixture
def start(transactional_db, tmp_path):
    """Start `manage.py worker` with these arguments; it is ended with the test.

    That is before the tables are emptied: a worker that still ran then would register anew, and
    leave its row to the next test.
    """
    started = []

    def start(*arguments, **variables):
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.processes.settings",
            "DBQ_TEST_LEASE": str(LEASE_SECONDS),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **{name: str(value) for name, value in variables.items()},
        }
        started.append(Process(["worker", *arguments], folder=tmp_path, variables=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def enqueue(transactional_db, tmp_path):
    """Enqueue so many jobs of that name; returns their ids as texts."""

    def enqueue(name="note", count=1, *, using="default", **fields):
        engine = engine_for(using)
        before = set(Job.objects.using(using).values_list("pk", flat=True))
        workspaces = ({"folder": str(tmp_path)} for _ in range(count))
        engine.insert_alike(Job(name=name, **fields), workspaces)
        after = set(Job.objects.using(using).values_list("pk", flat=True))
        return [str(pk) for pk in after - before]

    return enqueue


@pytest.fixture
def start_sleeper(enqueue, start):  # in this order: its rows outlive no worker
    """Start a worker that sleeps for long, and wait until it has run a job and is idle."""

    def start_sleeper(*arguments, **fields):
        enqueue("note", **fields)
        worker = start(*arguments, **SLEEPY)
        wait_for_end(1, worker)
        if connection.vendor == "postgresql":
            worker.wait_until(is_parked, "the worker was parked")
        return worker

    return start_sleeper


@pytest.fixture
def ran(tmp_path):
    """What ran: a list of (job, process id, queue), oldest first."""

    def ran():
        file = tmp_path / "ran"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(job, int(pid), queue) for job, pid, queue in map(str.split, lines)]

    return ran


@pytest.fixture
def times_run(ran):
    """How often each job ran."""
    return lambda: Counter(job for job, _, _ in ran())


@pytest.fixture
def go_on(tmp_path):
    """Let the jobs that hold go on."""
    return (tmp_path / "go-on").touch


@pytest.fixture
def pid_that_runs(ran):
    """Wait until the job runs; the id of the process that runs it last."""

    def pid_that_runs(job, process):
        def pids():
            return [pid for ran_job, pid, _ in ran() if ran_job == job]

        return process.wait_until(pids, f"job {job} ran")[-1]

    return pid_that_runs


def states(using="default"):
    return Counter(Job.objects.using(using).values_list("state", flat=True))


def wait_for_end(count, *processes, using="default", seconds=60):
    """Wait until so many jobs are complete."""
    wait_until(
        lambda: states(using)["COMPLETE"] == count,
        f"{count} jobs were complete",
        seconds=seconds,
        story=lambda: f"{states(using)}\n" + "\n".join(one.output[-3_000:] for one in processes),
    )


def is_parked():
    ringing._quiet_until.clear()  # as a process that has not asked of late
    return WorkerProcess.objects.filter(parked_at__isnull=False).exists()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


def workers():
    return list(WorkerProcess.objects.values_list("pk", flat=True))
