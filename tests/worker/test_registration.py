"""Leases and heartbeats."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, connections

from django_dbq import clock
from django_dbq.engines import Claim
from django_dbq.models import Job, WorkerProcess
from django_dbq.rules.deaths import Death
from django_dbq.rules.states import State
from django_dbq.worker.registration import Lease, Registrar
from tests.worker.conftest import now, row

LENGTH = timedelta(seconds=9)


class Host:
    seconds = 1_000.0


@pytest.fixture
def host(monkeypatch):
    """A host whose time passes when the test says so."""
    host = Host()
    monkeypatch.setattr(clock, "monotonic", lambda: host.seconds)
    return host


def test_a_worker_stops_claiming_before_others_may_take_it_for_dead(host):
    lease = Lease(LENGTH)
    assert lease.holds

    host.seconds += LENGTH.total_seconds() * 2 / 3 + 0.1
    assert not lease.holds


def test_a_heartbeat_counts_from_when_it_was_sent(host):
    lease = Lease(LENGTH)
    sent_at = host.seconds
    host.seconds += 100
    lease.renew(sent_at)
    assert not lease.holds

    lease.renew(host.seconds)
    assert lease.holds


@pytest.fixture
def registrar(transactional_db, engine, host):
    """A registrar in this thread, whose connection is as it was after the test."""
    yield Registrar(engine, lease=LENGTH)
    connection.close()
    connection.settings_dict = connections.databases["default"]


def test_a_beat_renews_the_leases_of_the_living_and_names_the_dead(registrar, engine, host):
    living, dead = (registrar.register(["q"], pid=number, threads=1) for number in (1, 2))
    leases = {living: Lease(LENGTH), dead: Lease(LENGTH)}
    engine.rescue(dead, Death(worker="h:2", cause="killed"), now=now())
    host.seconds += 100

    assert registrar.beat(leases) == {dead}
    assert leases[living].holds
    assert not leases[dead].holds


def test_several_beats_go_into_a_lease(registrar, host):
    registrar.beat({})
    first = registrar.seconds_to_next_beat()
    assert 0 < first <= LENGTH.total_seconds() / 3

    host.seconds += first
    assert registrar.seconds_to_next_beat() == 0


class Away:
    """An engine whose database is away."""

    def __getattr__(self, name):
        def verb(*args, **kwargs):
            raise OperationalError("gone")

        return verb

    def forget_connection(self):
        pass


def test_a_beat_that_does_not_arrive_renews_nothing_and_raises_nothing(registrar, host):
    worker_id = registrar.register(["q"], pid=1, threads=1)
    lease = Lease(LENGTH)
    registrar.clock = clock.DatabaseClock(Away().now)
    host.seconds += 100

    assert registrar.beat({worker_id: lease}) == set()
    assert not lease.holds


def test_who_has_not_beaten_for_the_time_of_a_lease_judges_nobody(registrar, host):
    assert not registrar.may_judge_others
    registrar.beat({})
    assert not registrar.may_judge_others

    host.seconds += LENGTH.total_seconds()
    assert registrar.may_judge_others


def test_after_the_database_was_away_everybody_gets_the_time_of_a_lease_to_be_heard(
    registrar, host, engine
):
    registrar.beat({})
    host.seconds += LENGTH.total_seconds()
    answers = registrar.clock
    registrar.clock = clock.DatabaseClock(Away().now)
    registrar.beat({})
    assert not registrar.may_judge_others

    registrar.clock = answers
    registrar.beat({})
    assert not registrar.may_judge_others
    host.seconds += LENGTH.total_seconds()
    assert registrar.may_judge_others


def test_the_silent_are_rescued_only_by_who_may_judge(registrar, engine, host):
    an_hour_ago = now() - timedelta(hours=1)
    silent = engine.register(hostname="h", pid=1, queues=[], threads=1, now=an_hour_ago).pk
    job = Job.objects.create(name="noop")
    engine.claim(Claim(["default"], limit=1, worker_id=silent, now=now()))
    registrar.beat({})
    registrar.rescue_dead()
    assert row(job).state == State.PROCESSING

    for _ in range(6):
        host.seconds += LENGTH.total_seconds() / 5
        registrar.beat({})
    registrar.rescue_dead()
    assert row(job).state == State.READY
    assert not WorkerProcess.objects.exists()


def test_after_a_beat_that_came_late_everybody_gets_the_time_of_a_lease_to_be_heard(
    registrar, host
):
    """A database that stalls keeps all heartbeats waiting, and raises nothing."""
    registrar.beat({})
    host.seconds += LENGTH.total_seconds()
    assert registrar.may_judge_others

    registrar.beat({})

    assert not registrar.may_judge_others


def test_duties_for_all_are_with_the_eldest_worker_that_is_heard(registrar, engine):
    silent = engine.register(
        hostname="h", pid=1, queues=[], threads=1, now=now() - timedelta(hours=1)
    ).pk
    eldest, younger = (registrar.register(["q"], pid=number, threads=1) for number in (2, 3))

    assert registrar.has_duty([younger, eldest])
    assert not registrar.has_duty([younger])
    assert not registrar.has_duty([silent])
    assert not registrar.has_duty([])


def test_who_cannot_ask_has_no_duty(registrar):
    worker_id = registrar.register(["q"], pid=1, threads=1)
    registrar.engine = Away()
    registrar.engine.response_timeout = contextlib.nullcontext

    assert not registrar.has_duty([worker_id])
