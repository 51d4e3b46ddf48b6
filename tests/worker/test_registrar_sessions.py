"""Registrars and their database sessions: whose has ended is dead, unless it is heard again."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections

from django_dbq import clock
from django_dbq.engines import Claim, Engine, engine_for, proc
from django_dbq.models import Attempt, Job, WorkerProcess
from django_dbq.rules.states import State
from django_dbq.worker.registration import Lease, Registrar
from tests import databases
from tests.compat.waiting import PATIENCE_SECONDS, in_another_connection, wait_until
from tests.pgbouncer import pgbouncer
from tests.worker.conftest import now, row

pytestmark = pytest.mark.django_db(transaction=True)

LENGTH = timedelta(seconds=9)

needs_sessions = pytest.mark.skipif(
    "connection.vendor == 'sqlite'", reason="SQLite has no sessions that could be ended"
)


class Host:
    """The host's clock adds what a test says to what passes."""

    def __init__(self):
        self.ahead, self._monotonic = 0.0, clock.monotonic

    def monotonic(self):
        return self._monotonic() + self.ahead


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setattr(clock, "monotonic", host.monotonic)
    return host


class Supervisor:
    """A registrar with a thread, and so a database session, of its own, and one worker."""

    def __init__(self):
        self.thread = ThreadPoolExecutor(1)
        self.registrar = Registrar(engine_for("default"), lease=LENGTH)
        self.worker_id = self.does(self.registrar.register, ["default"], pid=4711, threads=3)
        self.leases = {self.worker_id: Lease(LENGTH)}

    def does(self, function, *args, **kwargs):
        return self.thread.submit(function, *args, **kwargs).result(PATIENCE_SECONDS)

    def beats(self):
        return self.does(self.registrar.beat, self.leases)

    def rescues(self):
        self.does(self.registrar.rescue_dead)

    def session_number(self):
        own = "pg_backend_pid()" if connection.vendor == "postgresql" else "CONNECTION_ID()"

        def ask():
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT {own}")
                return cursor.fetchone()[0]

        return self.does(ask)

    def loses_its_session(self):
        """As an administrator ends it; in SQLite, as if it were of a process that has ended."""
        if connection.vendor == "sqlite":
            WorkerProcess.objects.filter(pk=self.worker_id).update(
                session=proc.mark_of_this_process() + "0"
            )
            return
        number = self.session_number()

        def end():
            with connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [number])
                else:
                    cursor.execute(f"KILL {number}")

        in_another_connection(end)

    def ends(self):
        self.does(connections.close_all)
        self.thread.shutdown()


@pytest.fixture
def supervisor(host):
    """Start one more supervisor."""
    started = []

    def supervisor():
        started.append(Supervisor())
        return started[-1]

    yield supervisor
    for one in started:
        one.ends()


def may_judge(host, *judges):
    """They beat for the time of a lease."""
    for _ in range(10):
        host.ahead += LENGTH.total_seconds() / 8
        for judge in judges:
            judge.beats()
    assert all(judge.registrar.may_judge_others for judge in judges)


def job_of(supervisor):
    job = Job.objects.create(name="noop")
    engine_for("default").claim(
        Claim(["default"], limit=1, worker_id=supervisor.worker_id, now=now())
    )
    assert row(job).state == State.PROCESSING
    return job


def is_abandoned(supervisor):
    abandoned = engine_for("default").abandoned_workers(unseen_since=now() + timedelta(days=1))
    return supervisor.worker_id in abandoned


def test_a_worker_s_row_tells_its_threads_and_from_the_first_beat_on_its_session(supervisor):
    one = supervisor()
    assert WorkerProcess.objects.get().threads == 3
    assert WorkerProcess.objects.get().session == ""
    assert one.registrar.seconds_to_next_beat() == 0

    one.beats()
    assert WorkerProcess.objects.get().session
    assert not is_abandoned(one)


def test_who_others_can_see_beats_each_second(supervisor):
    one = supervisor()
    one.beats()

    assert one.registrar.beat_interval_seconds == 1


def test_who_has_heartbeats_alone_beats_a_few_times_in_a_lease(supervisor):
    one = supervisor()
    one.registrar.engine = Engine("default")
    one.beats()

    assert one.registrar.beat_interval_seconds == LENGTH.total_seconds() / 5


def test_a_session_is_held_once_and_not_with_each_beat(supervisor, monkeypatch):
    one = supervisor()
    asked = []
    hold = one.registrar.engine.hold_session
    one.registrar.engine.hold_session = lambda ids: asked.append(set(ids)) or hold(ids)
    for _ in range(3):
        one.beats()
    assert asked == [{one.worker_id}]
    assert one.registrar.seconds_to_next_beat() > 0

    second = one.does(one.registrar.register, ["default"], pid=4712, threads=1)
    one.leases[second] = Lease(LENGTH)
    assert one.registrar.seconds_to_next_beat() == 0
    one.beats()
    assert asked[1:] == [{one.worker_id, second}]


@needs_sessions
def test_after_its_session_was_ended_a_supervisor_beats_on_in_another(supervisor, host):
    one = supervisor()
    one.beats()
    lease = one.leases[one.worker_id]
    one.loses_its_session()
    wait_until(lambda: is_abandoned(one), "its session had ended", seconds=5)
    host.ahead += 100
    assert not lease.holds

    assert one.beats() == set()
    assert lease.holds
    assert not is_abandoned(one)
    assert WorkerProcess.objects.get().session


@needs_sessions
def test_who_has_lost_its_session_and_is_heard_again_is_not_rescued(supervisor, host):
    one, judge = supervisor(), supervisor()
    may_judge(host, judge)
    one.beats()
    job = job_of(one)
    one.loses_its_session()
    for _ in range(3):
        judge.beats()
        judge.rescues()
        one.beats()
    judge.rescues()

    assert row(job).state == State.PROCESSING
    assert WorkerProcess.objects.count() == 2


def test_who_has_lost_its_session_and_is_not_heard_again_is_rescued_long_before_its_lease_is_over(
    supervisor, host
):
    one, judge = supervisor(), supervisor()
    one.beats()
    may_judge(host, judge)
    one.beats()
    job = job_of(one)
    one.loses_its_session()
    wait_until(lambda: is_abandoned(one), "its session had ended", seconds=5)
    judge.beats()
    judge.rescues()
    assert row(job).state == State.PROCESSING  # it was heard a moment ago

    host.ahead += 1.6
    judge.rescues()
    assert row(job).state == State.READY
    assert WorkerProcess.objects.get().pk == judge.worker_id
    assert Attempt.objects.get(job_id=job.pk).worker.endswith(":4711")
    assert one.beats() == {one.worker_id}


def test_whose_session_goes_on_is_dead_after_its_lease_and_not_before(supervisor, host):
    one, judge = supervisor(), supervisor()
    one.beats()
    may_judge(host, judge)
    one.beats()
    job = job_of(one)
    for _ in range(4):  # 8 of 9 seconds
        host.ahead += 2
        judge.registrar._written_at = clock.monotonic()  # it is heard; the worker is not
        judge.rescues()
    assert row(job).state == State.PROCESSING

    host.ahead += 2
    judge.rescues()
    assert row(job).state == State.READY


@needs_sessions
def test_who_has_lost_its_own_session_judges_nobody_for_the_time_of_a_lease(supervisor, host):
    """It may have been the server's restart: then others have lost theirs too."""
    judge = supervisor()
    may_judge(host, judge)
    judge.loses_its_session()
    judge.beats()

    assert not judge.registrar.may_judge_others
    may_judge(host, judge)


def test_of_two_that_find_it_dead_one_gives_its_job_back(supervisor, host):
    one, judges = supervisor(), [supervisor(), supervisor()]
    one.beats()
    job = job_of(one)
    may_judge(host, *judges)
    one.loses_its_session()
    wait_until(lambda: is_abandoned(one), "its session had ended", seconds=5)
    host.ahead += 1.6

    for each in [judge.thread.submit(judge.registrar.rescue_dead) for judge in judges]:
        each.result(PATIENCE_SECONDS)
    assert (row(job).state, row(job).crashes) == (State.READY, 1)
    assert Attempt.objects.count() == 1
    assert WorkerProcess.objects.count() == 2


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PgBouncer is for PostgreSQL")
def test_behind_pgbouncer_all_goes_by_the_lease(supervisor, host, monkeypatch):
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(pgbouncer())
        except databases.NoServer as reason:
            pytest.skip(str(reason))
        entry = {**connections.databases["default"], **databases.django_server("postgresql", url)}
        monkeypatch.setitem(connections.databases, "default", entry)
        one, judge = supervisor(), supervisor()
        one.beats()
        may_judge(host, judge)
        one.beats()
        job = job_of(one)
        assert set(WorkerProcess.objects.values_list("session", flat=True)) == {""}
        assert one.registrar.beat_interval_seconds == LENGTH.total_seconds() / 5

        one.does(connections.close_all)
        host.ahead += 5
        judge.rescues()
        assert row(job).state == State.PROCESSING
        host.ahead += 5
        judge.rescues()
        assert row(job).state == State.READY
