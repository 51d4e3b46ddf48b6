"""What the tests of faults share: workers, what they left behind, and servers to misuse."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection, connections, transaction

from django_dbq.models import Attempt, Job, WorkerProcess
from tests import databases
from tests.compat.waiting import wait_until
from tests.faults import history, journal
from tests.faults import settings as faults_settings
from tests.faults.database import address, make_database
from tests.faults.invariants import examine
from tests.faults.proxy import Proxy
from tests.faults.team import Team, family

# Targets of recovery, in seconds, as docs/reliability.md promises them with the default lease.
CHILD_KILLED, SUPERVISOR_KILLED, FROZEN = 0.5, 3.0, 12.0
# On two cores that are shared with whatever else runs there, a process may wait for its turn.
NOISE = 2.0


@pytest.fixture
def team(transactional_db, settings, tmp_path):
    """Workers of a short lease, which end with the test; what they do to jobs is remembered."""
    settings.JOBS = faults_settings.JOBS
    history.begin()
    team = Team(tmp_path, dbq={"LEASE": 2})
    yield team
    team.end()
    history.end()


@pytest.fixture
def enqueue(team):
    """Enqueue so many jobs of that name, each with this workspace; their ids as texts."""

    def enqueue(name="note", count=1, *, workspace=None, **fields):
        with transaction.atomic():
            return [
                str(Job.objects.create(name=name, workspace=dict(workspace or {}), **fields).pk)
                for _ in range(count)
            ]

    return enqueue


@pytest.fixture
def runs(tmp_path):
    """The runs so far, of one job or of all."""
    return lambda job=None: [run for run in journal.read(tmp_path) if job in (None, run.job)]


@pytest.fixture
def wait_for_run(team, runs):
    """Wait until the job has begun to run that often; its last run."""

    def wait_for_run(job, *, times=1, seconds=30):
        def begun():
            return len(runs(job)) >= times and runs(job)

        what = f"job {job} had begun {times} times"
        return wait_until(begun, what, seconds=seconds, story=team.story)[-1]

    return wait_for_run


@pytest.fixture
def go_on(tmp_path):
    """Let the jobs that hold go on; or only one run."""

    def go_on(run=None):
        (tmp_path / ("go-on" if run is None else f"go-on-{run.token}")).touch()

    return go_on


@pytest.fixture
def arm(tmp_path):
    """Arm the point at which the next worker process dies; says whether it has fired."""

    def arm():
        (tmp_path / "armed").touch()
        return (tmp_path / "fired").exists

    return arm


@pytest.fixture
def wait_for_end(team):
    """Wait until every job is final."""

    def wait_for_end(*, seconds=60):
        wait_until(
            lambda: not unfinished().exists(),
            "every job was final",
            seconds=seconds,
            story=lambda: f"{list(unfinished().values())}\n{team.story()}",
        )

    return wait_for_end


@pytest.fixture
def all_is_well(team, wait_for_end):
    """Wait until every job is final and no invariant is broken; what was found."""

    def all_is_well(*, seconds=60, **expectations):
        wait_for_end(seconds=seconds)
        found = examine(team.folder, deaths=team.deaths, slots=team.most_slots, **expectations)
        if found.breaches:
            stories = Attempt.objects.values_list("job_id", "task", "traceback")
            pytest.fail("\n".join([*found.breaches, *map(str, stories), team.story()]))
        return found

    return all_is_well


def unfinished():
    return Job.objects.exclude(state__in=["COMPLETE", "FAILED", "CANCELLED"])


def states_of(*jobs):
    """The states of these jobs, in their order."""
    by_id = {str(job.pk): job for job in Job.objects.filter(pk__in=jobs)}
    return [by_id[job].state for job in jobs]


def wait_for_workers(count, team):
    """Wait until so many workers are registered."""
    wait_until(
        lambda: WorkerProcess.objects.count() >= count,
        f"{count} workers were registered",
        story=team.story,
    )


def is_run_by(member, run):
    """Whether this member's worker holds the job; the process of an isolated task is another."""
    owner = WorkerProcess.objects.get(pk=run.worker)
    return owner.pid in family(member.pid)


def wait_until_it_may_judge(member, *, lease=2):
    """Wait until a worker that has just started has beaten for a lease: before, it judges nobody.

    Nothing shows it from the outside but its heartbeats, the time of which is in its row.
    """

    def has_beaten_for_a_lease():
        return any(
            (worker.last_seen - worker.started_at).total_seconds() > lease * 1.3
            for worker in WorkerProcess.objects.all()
            if worker.pid in family(member.pid)
        )

    wait_until(has_beaten_for_a_lease, "it may judge others", story=lambda: member.output)


# Servers


@pytest.fixture
def proxy(team):
    """A proxy between the workers of this test and the database; ours go past it."""
    with Proxy(**address()) as proxy:
        team.database = proxy.as_database
        yield proxy


@pytest.fixture(scope="session")
def throw_away_server(database_kind):
    """One more server of the kind under test, to be restarted and broken; for the whole run."""
    if database_kind == "sqlite":
        pytest.skip("SQLite has no server")
    with databases.throw_away_server(database_kind) as server:
        yield server


@pytest.fixture
def server(transactional_db, throw_away_server, database_kind):
    """The throw-away server, and for the length of the test "default" is a database on it."""
    with repointed(throw_away_server.url, database_kind):
        yield throw_away_server


@contextmanager
def repointed(url, kind):
    """For a while "default" leads to the same database on another server, for workers too."""
    entry = connections.databases["default"]
    before, variable = dict(entry), databases.URL_VARIABLES[kind]
    url_before = os.environ.get(variable)
    connection.close()
    entry.update(databases.django_server(kind, url))
    os.environ[variable] = url
    try:
        make_database()
        yield
    finally:
        connection.close()
        entry.update(before)
        if url_before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = url_before


@pytest.fixture
def program():
    """The path of a program that the system may have; without it the test is skipped."""

    def program(name, package):
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        found = shutil.which(name, path=path)
        if found is None:
            pytest.skip(f"{name} is not installed: make test-faults does it as root on Debian")
        return Path(found)

    return program
