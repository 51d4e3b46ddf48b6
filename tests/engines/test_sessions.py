"""A supervisor's session: others see when it ends, and nobody waits for it for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from datetime import timedelta

import pytest
from django.db import DatabaseError, OperationalError, connection, connections

from django_dbq.engines import Engine, engine_for, proc, sessions
from django_dbq.models import WorkerProcess
from tests import databases
from tests.compat.waiting import in_another_connection, wait_until
from tests.engines.conftest import NOW
from tests.faults.proxy import Proxy
from tests.pgbouncer import pgbouncer

pytestmark = pytest.mark.django_db(transaction=True)

LATER = NOW + timedelta(minutes=5)

# What a database without sessions, SQLite, tells by processes.
needs_sessions = pytest.mark.skipif(
    "connection.vendor == 'sqlite'", reason="SQLite has no sessions: it goes by processes"
)
needs_processes = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="this database goes by its own sessions"
)
needs_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="the drivers of the others have such an option"
)


@pytest.fixture
def engine():
    """The database's engine. This thread's connection is as it was, after the test."""
    yield engine_for("default")
    connection.close()
    connection.settings_dict = connections.databases["default"]


@pytest.fixture
def other_session():
    """Another connection of this thread, to the same database."""
    other = connections.create_connection("default")
    yield other
    other.close()


@pytest.fixture
def held_elsewhere(engine, other_session):
    """Have another session hold these workers; returns whether it does."""

    class Elsewhere(type(engine)):
        connection = other_session

    return Elsewhere("default").hold_session


def register(engine, *, last_seen=NOW):
    return engine.register(hostname="h", pid=7, queues=[], threads=1, now=last_seen).pk


def session_of(worker_id):
    return WorkerProcess.objects.get(pk=worker_id).session


def end_session(wrapper):
    """End the session from the server's side, as an administrator does."""
    with wrapper.cursor() as cursor:
        own = "pg_backend_pid()" if wrapper.vendor == "postgresql" else "CONNECTION_ID()"
        cursor.execute(f"SELECT {own}")
        (number,) = cursor.fetchone()

    def end():
        with connection.cursor() as cursor:
            if wrapper.vendor == "postgresql":
                cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [number])
            else:
                cursor.execute(f"KILL {number}")

    in_another_connection(end)


# ── Who is abandoned ─────────────────────────────────────────────────────────────────────────────


def test_a_worker_whose_session_goes_on_is_not_abandoned_however_long_unseen(
    engine, held_elsewhere
):
    held = register(engine)

    assert held_elsewhere([held]) is True
    assert session_of(held)
    assert engine.abandoned_workers(unseen_since=LATER) == []


@needs_sessions
def test_a_worker_whose_session_has_ended_is_abandoned(engine, held_elsewhere, other_session):
    first, second = register(engine), register(engine)
    held_elsewhere([first, second])
    end_session(other_session)

    wait_until(
        lambda: engine.abandoned_workers(unseen_since=LATER) == [first, second],
        "both were abandoned",
        seconds=5,
    )


@needs_processes
def test_a_worker_whose_supervisor_has_ended_is_abandoned(engine):
    ended, living = register(engine), register(engine)
    engine.hold_session([living])
    WorkerProcess.objects.filter(pk=ended).update(session=mark_of_an_ended_process())

    assert engine.abandoned_workers(unseen_since=LATER) == [ended]


def test_who_was_seen_lately_is_not_abandoned_though_its_session_has_ended(
    engine, held_elsewhere, other_session
):
    lately = register(engine, last_seen=LATER)
    held_elsewhere([lately])
    if connection.vendor == "sqlite":
        WorkerProcess.objects.update(session=mark_of_an_ended_process())
    other_session.close()
    after = LATER + timedelta(seconds=1)
    wait_until(lambda: engine.abandoned_workers(unseen_since=after) == [lately], "it was free")

    assert engine.abandoned_workers(unseen_since=LATER) == []


def mark_of_an_ended_process():
    """Of one that had our id and started at another time."""
    return proc.mark_of_this_process() + "0"


def test_who_never_held_a_session_is_not_abandoned(engine):
    register(engine)

    assert engine.abandoned_workers(unseen_since=LATER) == []


def test_who_is_left_out_the_next_time_is_held_no_more(engine, held_elsewhere):
    kept, left_out = register(engine), register(engine)
    held_elsewhere([kept, left_out])
    held_elsewhere([kept])

    if connection.vendor == "sqlite":  # the process holds it, as long as it lives
        assert engine.abandoned_workers(unseen_since=LATER) == []
    else:
        assert engine.abandoned_workers(unseen_since=LATER) == [left_out]


@needs_sessions
def test_holding_many_times_over_is_holding_once(engine, held_elsewhere):
    held = register(engine)
    for _ in range(5):
        assert held_elsewhere([held]) is True
    held_elsewhere([])

    assert engine.abandoned_workers(unseen_since=LATER) == [held]


@needs_sessions
def test_while_a_former_session_lasts_others_go_by_heartbeats(
    engine, held_elsewhere, other_session
):
    """A half-open one: its server process has not noticed that its client is gone."""
    worker = register(engine)
    held_elsewhere([worker])
    assert engine.hold_session([worker]) is False
    assert session_of(worker) == ""

    other_session.close()
    wait_until(lambda: engine.hold_session([worker]), "the lock was taken over")
    assert session_of(worker)


@needs_sessions
def test_an_id_of_more_than_32_bits_has_a_lock_too(engine, held_elsewhere, other_session):
    large = 2**32 * 3 + 2**31 + 5
    WorkerProcess.objects.create(
        pk=large, hostname="h", pid=1, started_at=NOW, last_seen=NOW, session=""
    )
    assert held_elsewhere([large]) is True
    assert engine.abandoned_workers(unseen_since=LATER) == []

    other_session.close()
    wait_until(lambda: engine.abandoned_workers(unseen_since=LATER) == [large], "it was free")


def test_the_portable_engine_leaves_it_to_heartbeats(engine):
    portable = Engine("default")
    worker = register(engine)

    assert portable.hold_session([worker]) is False
    assert session_of(worker) == ""
    assert portable.abandoned_workers(unseen_since=LATER) == []


@pytest.mark.skipif("connection.vendor != 'mysql'", reason="only its locks are of one server")
def test_of_a_worker_on_another_server_of_a_cluster_nothing_is_known(engine, held_elsewhere):
    worker = register(engine)
    held_elsewhere([worker])
    WorkerProcess.objects.update(session="GET_LOCK at another:3306")
    held_elsewhere([])
    WorkerProcess.objects.update(session="GET_LOCK at another:3306")

    assert engine.abandoned_workers(unseen_since=LATER) == []


# ── Processes, where there are no sessions ───────────────────────────────────────────────────────


@needs_processes
def test_a_process_that_is_dead_and_not_reaped_has_ended():
    child = subprocess.Popen(["sleep", "60"])
    mark = f"{proc._here()} {child.pid} {proc._started(child.pid)}"
    assert not proc.has_ended(mark)

    child.kill()
    wait_until(lambda: proc.has_ended(mark), "it was seen to have ended", seconds=5)
    child.wait()
    assert proc.has_ended(mark)


@needs_processes
def test_a_stopped_process_has_not_ended():
    child = subprocess.Popen(["sleep", "60"])
    try:
        mark = f"{proc._here()} {child.pid} {proc._started(child.pid)}"
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        assert not proc.has_ended(mark)
    finally:
        child.kill()
        child.wait()


@needs_processes
def test_of_a_process_of_another_host_or_container_nothing_is_known():
    boot, namespace, pid, started = proc.mark_of_this_process().split(" ")

    for mark in (
        f"{boot[::-1]} {namespace} {pid} {started}0",
        f"{boot} pid:[1] {pid} {started}0",
    ):
        assert not proc.has_ended(mark)
    assert proc.has_ended(f"{boot} {namespace} {pid} {started}0")


# ── How long to wait ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def proxied(engine):
    """This thread's connection goes through a proxy, by TCP."""
    connection.ensure_connection()
    settings = connection.settings_dict
    if connection.vendor == "postgresql":
        info = connection.connection.info
        socket_path = f"{info.host}/.s.PGSQL.{info.port}"
        target = {"unix_socket": socket_path} if info.host.startswith("/") else None
        target = target or {"host": info.host, "port": info.port}
    elif "unix_socket" in settings["OPTIONS"]:
        target = {"unix_socket": settings["OPTIONS"]["unix_socket"]}
    else:
        target = {"host": settings["HOST"], "port": int(settings["PORT"] or 3306)}
    connection.close()
    with Proxy(**target) as proxy:
        options = {"charset": "utf8mb4"} if connection.vendor == "mysql" else {}
        connection.settings_dict = {**settings, **proxy.as_database, "OPTIONS": options}
        yield proxy
        connection.close()


@needs_sessions
def test_a_server_that_does_not_answer_any_more_is_an_error_in_seconds(
    engine, proxied, monkeypatch
):
    """Its end of the connection is open, and the network is fine: TCP notices nothing."""
    monkeypatch.setattr(f"{type(engine).__module__}.RESPONSE_TIMEOUT_SECONDS", 1)
    if connection.vendor == "mysql":
        monkeypatch.setattr(
            type(engine), "waiting_options", {"connect_timeout": 2, "read_timeout": 1}
        )
    engine.limit_waiting()
    engine.now()
    proxied.blackhole()
    began = time.monotonic()
    with pytest.raises(OperationalError), engine.response_timeout():
        engine.now()
    assert time.monotonic() - began < 4

    proxied.cut_all()
    proxied.forward()
    engine.forget_connection()
    with engine.response_timeout():
        engine.now()


@needs_sessions
def test_a_server_that_lets_nobody_in_is_an_error_in_seconds(engine, proxied, monkeypatch):
    monkeypatch.setattr(
        type(engine), "waiting_options", {**engine.waiting_options, "connect_timeout": 2}
    )
    if connection.vendor == "mysql":
        monkeypatch.setitem(engine.waiting_options, "read_timeout", 2)
    engine.limit_waiting()
    proxied.blackhole()
    began = time.monotonic()
    with pytest.raises(OperationalError):
        engine.now()
    assert time.monotonic() - began < 5


@needs_postgresql
def test_after_the_block_nothing_is_cut_off(engine, monkeypatch):
    monkeypatch.setattr(f"{type(engine).__module__}.RESPONSE_TIMEOUT_SECONDS", 0.1)
    with engine.response_timeout():
        engine.now()

    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


@needs_postgresql
def test_in_another_thread_one_goes_without(engine):
    def ask():
        with engine_for("default").response_timeout():
            return engine_for("default").now()

    assert in_another_connection(ask)


@needs_postgresql
def test_the_kernel_is_told_to_give_up_on_a_network_that_swallows_packets(engine, proxied):
    engine.limit_waiting()
    connection.ensure_connection()

    with socket.socket(fileno=os.dup(connection.connection.fileno())) as ours:
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 5
        limit = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert 0 < limit <= 10_000


@needs_sessions
def test_what_the_project_says_about_waiting_stands(engine):
    given = {**connection.settings_dict["OPTIONS"], "connect_timeout": 77}
    connection.close()
    connection.settings_dict = {**connection.settings_dict, "OPTIONS": given}
    engine.limit_waiting()

    options = connection.settings_dict["OPTIONS"]
    assert options["connect_timeout"] == 77
    assert options.items() >= given.items()
    assert options != given


@needs_sessions
def test_connections_of_other_threads_wait_as_the_project_says(engine):
    engine.limit_waiting()

    settings = in_another_connection(lambda: dict(connections["default"].settings_dict))
    assert settings == connections.databases["default"]
    assert settings["OPTIONS"] != connection.settings_dict["OPTIONS"]


@needs_sessions
def test_limits_are_set_once(engine):
    engine.limit_waiting()
    connection.ensure_connection()
    before = engine.session
    engine.limit_waiting()

    assert engine.session is before


@needs_sessions
def test_an_open_transaction_is_left_alone(engine):
    from django.db import transaction

    with transaction.atomic():
        before = engine.session
        engine.limit_waiting()
        assert engine.session is before
        engine.now()


# ── PgBouncer ────────────────────────────────────────────────────────────────────────────────────


@needs_postgresql
def test_behind_pgbouncer_others_go_by_heartbeats(engine):
    worker = register(engine)
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(pgbouncer())
        except databases.NoServer as reason:
            pytest.skip(str(reason))
        server = databases.django_server("postgresql", url)
        connection.close()
        connection.settings_dict = {**connection.settings_dict, **server}
        assert engine.hold_session([worker]) is False
        with connection.cursor() as cursor, pytest.raises(DatabaseError):
            cursor.execute("SELECT no_such_function()")  # the connection is as good as before
        connection.close()
        connection.settings_dict = connections.databases["default"]

    assert session_of(worker) == ""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert cursor.fetchone() == (0,)


def test_the_numbers_leave_time_to_come_back_within_a_lease():
    assert sessions.RESPONSE_TIMEOUT_SECONDS + sessions.CONNECT_TIMEOUT_SECONDS < 15
