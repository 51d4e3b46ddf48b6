"""The supervisor's own time: what it must do soon waits for no database."""

from __future__ import annotations

from datetime import timedelta
from multiprocessing import Pipe

import pytest
from django.db import OperationalError, connection, connections

from django_dbq import clock
from django_dbq.rules.deaths import Death
from django_dbq.worker.child import Child
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.registration import Lease
from django_dbq.worker.shutdown import SECOND_SIGNAL_AFTER_SECONDS
from django_dbq.worker.supervisor import Supervisor

LENGTH = timedelta(seconds=30)
RESPONSE_TIMEOUT_SECONDS = 8.0
A_BEAT_SECONDS = 2 * RESPONSE_TIMEOUT_SECONDS  # it is tried again in a new session


class Host:
    seconds = 1_000.0


class Silent:
    """An engine whose database is a black hole once `is_silent`: each question costs its time."""

    def __init__(self, engine, host):
        self._engine, self._host, self.is_silent, self.asked = engine, host, False, []

    def __getattr__(self, name):
        verb = getattr(self._engine, name)
        if name in ("response_timeout", "limit_waiting", "forget_connection", "session", "using"):
            return verb

        def asked(*args, **kwargs):
            if not self.is_silent:
                return verb(*args, **kwargs)
            self.asked.append(name)
            self._host.seconds += RESPONSE_TIMEOUT_SECONDS
            raise OperationalError("no answer")

        return asked


class Process:
    """A worker process that goes on until it is killed."""

    pid, exitcode, is_killed = 4711, -9, False

    def is_alive(self):
        return not self.is_killed

    def kill(self):
        self.is_killed = True

    def join(self):
        pass

    def terminate(self):
        pass


@pytest.fixture
def host(monkeypatch):
    """A host whose time passes when the test says so."""
    host = Host()
    monkeypatch.setattr(clock, "monotonic", lambda: host.seconds)
    return host


@pytest.fixture
def supervisor(transactional_db, engine, host, settings, monkeypatch):
    """A supervisor with one child, which is registered; it starts no processes."""
    settings.DBQ = {"LEASE": LENGTH, "RETENTION": {"COMPLETE": LENGTH}}
    supervisor = Supervisor(WorkerOptions(processes=0))
    supervisor.engine = supervisor.registrar.engine = silent = Silent(engine, host)
    supervisor.registrar.clock = clock.DatabaseClock(silent.now)
    monkeypatch.setattr(supervisor.housekeeper, "keep_running", lambda not_its_own: None)
    monkeypatch.setattr(supervisor, "_wait", lambda: None)
    ours, theirs = Pipe()
    supervisor.children.append(Child(Process(), ours, Lease(LENGTH), Ledger(1)))
    supervisor._turn()
    assert supervisor.children[0].worker_id
    yield supervisor
    theirs.close()
    connection.close()
    connection.settings_dict = connections.databases["default"]


def dies_with_a_job(supervisor):
    """Another child of the supervisor has died, and is to be buried."""
    worker_id = supervisor.registrar.register(["default"], pid=1, threads=1)
    supervisor._unburied[worker_id] = Death("h:1", "killed")
    return worker_id


def test_while_the_database_is_silent_no_more_than_a_beat_lies_between_two_looks_at_the_clock(
    supervisor, host, monkeypatch
):
    looked_at = []
    keep_time = supervisor._kill_overdue
    monkeypatch.setattr(
        supervisor, "_kill_overdue", lambda: (looked_at.append(host.seconds), keep_time())
    )
    dies_with_a_job(supervisor)
    supervisor.engine.is_silent = True
    supervisor.registrar._beat_at = float("-inf")
    for _ in range(5):
        supervisor._turn()

    gaps = [later - earlier for earlier, later in zip(looked_at, looked_at[1:])]
    assert 0 < max(gaps) <= A_BEAT_SECONDS


def test_a_second_signal_kills_within_a_beat_although_the_database_is_silent(supervisor, host):
    (child,) = supervisor.children
    dies_with_a_job(supervisor)
    supervisor.engine.is_silent = True
    supervisor._on_stop_signal()
    host.seconds += SECOND_SIGNAL_AFTER_SECONDS + 0.1
    supervisor.registrar._beat_at = float("-inf")
    supervisor._on_stop_signal()
    told_at = host.seconds
    supervisor._turn()

    assert child.killed_at - told_at <= A_BEAT_SECONDS


def test_what_waited_for_a_silent_database_is_done_when_it_answers_again(supervisor, host):
    worker_id = dies_with_a_job(supervisor)
    supervisor.engine.is_silent = True
    supervisor.registrar._beat_at = float("-inf")
    supervisor._turn()
    supervisor._turn()
    assert supervisor._unburied.keys() == {worker_id}
    assert set(supervisor.engine.asked) == {"now"}  # which a beat begins with

    supervisor.engine.is_silent = False
    host.seconds += supervisor.registrar.seconds_to_next_beat()
    supervisor._turn()

    assert not supervisor._unburied
    assert not supervisor.registrar.is_cut_off
