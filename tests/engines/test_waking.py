"""Waking: how a worker that waits learns of jobs that others have committed."""

from __future__ import annotations

import contextlib
import select
from datetime import datetime, timezone

import pytest
from django.db import OperationalError, connection, connections, transaction

from django_dbq.engines import Claim, Engine, engine_for, notifications, ringing
from django_dbq.models import Job, WorkerProcess
from django_dbq.rules.queues import EVERY_QUEUE
from tests import databases
from tests.compat.waiting import in_another_connection, wait_until
from tests.engines.test_sessions import end_session
from tests.pgbouncer import pgbouncer

pytestmark = pytest.mark.django_db(transaction=True)

needs_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="only PostgreSQL notifies"
)
needs_sqlite = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="only SQLite tells that its file has changed"
)

AT_ONCE = 10.0  # far less than the pauses of these tests, and enough for a slow machine


@pytest.fixture(autouse=True)
def nobody_remembers():
    """What this process has found out in another test."""
    ringing._quiet_until.clear()


@pytest.fixture(autouse=True)
def sleeps_long(monkeypatch):
    """What wakes a worker within a test is the bell, and no pause that was over."""
    monkeypatch.setattr(notifications, "FALLBACK_SECONDS", 600.0)


@pytest.fixture
def engine():
    """The database's engine. This thread's connection is as it was, after the test."""
    yield engine_for("default")
    connection.close()
    connection.settings_dict = connections.databases["default"]


def now():
    return datetime.now(timezone.utc)


def register(engine, *queues):
    return engine.register(
        hostname="h", pid=7, queues=queues or ["default"], threads=1, now=now()
    ).pk


@pytest.fixture
def doorbell_of(engine):
    """The doorbell of a new worker, on this thread's connection."""

    def doorbell_of(*queues):
        worker_id = register(engine, *queues)
        return engine.doorbell(queues or ["default"], worker_id=worker_id, now=now)

    return doorbell_of


def settle(doorbell):
    """Have the worker wait, and find nothing, until it sleeps for long; for how long."""
    return wait_until(lambda: _pause(doorbell), "the worker sleeps for long")


def _pause(doorbell):
    pause = doorbell.pause_seconds()
    if pause > AT_ONCE:
        return pause
    rang, _, _ = select.select([doorbell.socket] if doorbell.socket else [], [], [], pause)
    assert not rang
    assert not doorbell.rang()
    return None


def is_woken(doorbell):
    """Whether its socket ends a sleep, and it then knows why."""
    readable, _, _ = select.select([doorbell.socket], [], [], AT_ONCE)
    return bool(readable) and doorbell.rang()


def sleeps_on(doorbell):
    readable, _, _ = select.select([doorbell.socket], [], [], 0.05)
    return not readable and doorbell.pause_seconds() > AT_ONCE


def parked():
    return list(WorkerProcess.objects.filter(parked_at__isnull=False).values_list("pk", flat=True))


def elsewhere(function):
    """Call it in another connection, as another process: without what this one remembers."""
    ringing._quiet_until.clear()
    return in_another_connection(function)


def enqueue(**fields):
    elsewhere(lambda: Job.objects.create(name="noop", **fields))


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────


@needs_postgresql
def test_a_worker_that_finds_nothing_parks_and_is_woken_by_a_commit(doorbell_of):
    doorbell = doorbell_of()
    settle(doorbell)
    assert parked() == [doorbell.worker_id]

    enqueue()
    assert is_woken(doorbell)


@needs_postgresql
def test_a_job_that_was_committed_before_it_parked_is_found_right_after(doorbell_of, monkeypatch):
    doorbell = doorbell_of()
    doorbell.pause_seconds()  # it listens, and is not parked yet
    enqueue()
    monkeypatch.setattr(notifications, "PARK_AFTER_SECONDS", 0.0)
    assert doorbell.pause_seconds() == 0
    assert parked()

    assert doorbell.rang()


@needs_postgresql
def test_a_job_of_one_who_remembers_that_nobody_was_parked_is_found_when_that_is_forgotten(
    doorbell_of, monkeypatch
):
    doorbell = doorbell_of()
    doorbell.pause_seconds()
    ringing._quiet_until["default", "default"] = float("inf")
    monkeypatch.setattr(notifications, "PARK_AFTER_SECONDS", 0.0)
    assert doorbell.pause_seconds() == 0
    assert not doorbell.rang()
    in_another_connection(lambda: Job.objects.create(name="noop"))
    pause = doorbell.pause_seconds()
    assert pause < 1

    select.select([doorbell.socket], [], [], max(pause, 0))
    assert doorbell.rang()


@needs_postgresql
def test_a_job_that_was_committed_right_after_a_ring_is_looked_for(doorbell_of):
    doorbell = doorbell_of()
    settle(doorbell)
    enqueue()
    assert is_woken(doorbell)
    ringing._quiet_until["default", "default"] = float("inf")
    in_another_connection(lambda: Job.objects.create(name="noop"))
    pause = doorbell.pause_seconds()
    assert pause < 1

    select.select([doorbell.socket], [], [], max(pause, 0))
    assert doorbell.rang()


def test_the_memory_of_who_rings_is_shorter_than_those_who_listen_wait():
    assert ringing.NOBODY_SECONDS < notifications.FORGOTTEN_SECONDS
    assert ringing.WOKEN_SECONDS < notifications.SETTLED_SECONDS


@needs_postgresql
def test_a_notification_that_came_during_another_statement_is_not_slept_through(
    doorbell_of, engine
):
    doorbell = doorbell_of()
    settle(doorbell)
    enqueue()
    select.select([doorbell.socket], [], [], AT_ONCE)
    engine.claim(
        Claim(["another"], limit=1, worker_id=doorbell.worker_id, now=now())
    )  # takes it in

    assert doorbell.pause_seconds() == 0
    assert doorbell.rang()


@needs_postgresql
def test_one_ring_wakes_once(doorbell_of, engine):
    doorbell = doorbell_of()
    settle(doorbell)
    enqueue()
    assert is_woken(doorbell)
    assert engine.claim(Claim(["default"], limit=9, worker_id=doorbell.worker_id, now=now()))

    settle(doorbell)
    assert sleeps_on(doorbell)


@needs_postgresql
def test_only_workers_of_the_queue_are_woken(doorbell_of):
    doorbell = doorbell_of("mail", "reports")
    settle(doorbell)
    enqueue(queue_name="default")
    assert sleeps_on(doorbell)

    enqueue(queue_name="reports")
    assert is_woken(doorbell)


@needs_postgresql
def test_a_worker_of_every_queue_is_woken_by_a_job_of_any(doorbell_of):
    doorbell = doorbell_of(EVERY_QUEUE)
    for queue_name in ("default", "never heard of before"):
        settle(doorbell)
        enqueue(queue_name=queue_name)
        assert is_woken(doorbell)
        Job.objects.all().delete()


@needs_postgresql
def test_a_worker_of_every_queue_looks_for_a_job_that_was_committed_right_after_a_ring(doorbell_of):
    doorbell = doorbell_of(EVERY_QUEUE)
    settle(doorbell)
    enqueue(queue_name="one")
    assert is_woken(doorbell)
    ringing._quiet_until["default", "two"] = float("inf")
    in_another_connection(lambda: Job.objects.create(name="noop", queue_name="two"))
    pause = doorbell.pause_seconds()
    assert pause < 1

    select.select([doorbell.socket], [], [], max(pause, 0))
    assert doorbell.rang()


@needs_postgresql
def test_a_worker_that_leaves_the_register_is_rung_for_no_more(doorbell_of):
    doorbell = doorbell_of()
    settle(doorbell)
    doorbell.leave()
    assert parked() == []

    enqueue()
    assert not select.select([connection.connection.fileno()], [], [], 0.05)[0]


class Fails:
    """A verb whose answer is lost: it is done, or it is not."""

    def __init__(self, verb, *, is_done):
        self.verb, self.is_done = verb, is_done

    def __call__(self, *args):
        if self.is_done:
            self.verb(*args)
        raise OperationalError("the server is gone")


@needs_postgresql
@pytest.mark.parametrize("is_done", [False, True])
def test_who_could_not_say_that_it_is_awake_says_so_the_next_time(
    doorbell_of, engine, monkeypatch, is_done
):
    doorbell = doorbell_of()
    settle(doorbell)
    with monkeypatch.context() as patch:
        patch.setattr(doorbell.engine, "unpark", Fails(engine.unpark, is_done=is_done))
        with pytest.raises(OperationalError):
            doorbell.leave()

    doorbell.leave()
    assert parked() == []


@needs_postgresql
@pytest.mark.parametrize("is_done", [False, True])
def test_who_could_not_say_that_it_is_awake_is_parked_when_it_sleeps_again(
    doorbell_of, engine, monkeypatch, is_done
):
    doorbell = doorbell_of()
    settle(doorbell)
    with monkeypatch.context() as patch:
        patch.setattr(doorbell.engine, "unpark", Fails(engine.unpark, is_done=is_done))
        with pytest.raises(OperationalError):
            doorbell.leave()
    connection.close()  # as the worker does with one that has failed

    settle(doorbell)
    assert parked() == [doorbell.worker_id]
    enqueue()
    assert is_woken(doorbell)


@needs_postgresql
def test_who_leaves_while_a_job_waits_wakes_another(doorbell_of, engine):
    doorbell = doorbell_of()
    settle(doorbell)
    elsewhere(lambda: engine.park(register(engine)))
    heard = listen_to_all()
    Job.objects.bulk_create(Job(name="noop") for _ in range(3))
    heard()
    doorbell.leave()

    assert len(heard()) == 1


@needs_postgresql
def test_who_leaves_and_serves_every_queue_wakes_one_for_each_that_has_jobs(doorbell_of, engine):
    doorbell = doorbell_of(EVERY_QUEUE)
    settle(doorbell)
    ids = {}
    for queue_name in ("mail", "reports", "empty"):
        ids[queue_name] = register(engine, queue_name)
        elsewhere(lambda queue_name=queue_name: engine.park(ids[queue_name]))
    Job.objects.bulk_create(
        Job(name="noop", queue_name=queue_name) for queue_name in ("mail", "mail", "reports")
    )
    heard = listen_to_all()
    doorbell.leave()

    channels = sorted(notifications.CHANNEL + str(ids[name]) for name in ("mail", "reports"))
    assert sorted(heard()) == channels


@needs_postgresql
def test_who_leaves_and_serves_every_queue_wakes_no_more_than_a_few(
    doorbell_of, engine, monkeypatch
):
    monkeypatch.setattr(notifications, "MOST_RINGS", 2)
    doorbell = doorbell_of(EVERY_QUEUE)
    settle(doorbell)
    Job.objects.bulk_create(
        Job(name="noop", queue_name=f"queue {number}", priority=number) for number in range(5)
    )
    woken = []
    monkeypatch.setattr(engine, "wake_parked", lambda queue, **_: woken.append(queue))
    doorbell.leave()

    assert woken == ["queue 4", "queue 3"]


@needs_postgresql
def test_who_leaves_does_not_wait_for_ever_for_an_answer(doorbell_of, engine, monkeypatch):
    doorbell = doorbell_of()
    settle(doorbell)
    enqueue()
    is_limited = []

    @contextlib.contextmanager
    def response_timeout():
        is_limited.append(True)
        yield
        is_limited.pop()

    woken = []
    monkeypatch.setattr(engine, "response_timeout", response_timeout)
    monkeypatch.setattr(engine, "wake_parked", lambda *_, **__: woken.append(list(is_limited)))
    doorbell.leave()

    assert woken == [[True]]


@needs_postgresql
def test_the_dead_are_not_rung_for(engine):
    worker = register(engine)
    engine.park(worker)
    WorkerProcess.objects.update(last_seen="2020-01-01T00:00Z")

    assert engine.wake_parked("default", limit=9) is False


def listen_to_all():
    """What is notified to any worker, taken from the server; each call gives what is new."""
    for worker in WorkerProcess.objects.all():
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {notifications.CHANNEL}{worker.pk}")

    came = []
    session = connection.connection
    if hasattr(session, "add_notify_handler"):
        session.add_notify_handler(came.append)
    else:  # psycopg2
        came = session.notifies

    def heard():
        session.cursor().execute("SELECT 1")  # what came before has come after this
        channels = [each.channel for each in came]
        came.clear()
        return channels

    return heard


@needs_postgresql
def test_where_nobody_is_parked_nobody_is_notified(engine):
    register(engine)
    heard = listen_to_all()
    enqueue()

    assert heard() == []


@needs_postgresql
@pytest.mark.parametrize(("jobs", "woken"), [(1, 2), (2, 3), (50, 5)])
def test_as_many_are_woken_as_there_are_jobs_and_one(engine, jobs, woken):
    for _ in range(5):
        engine.park(register(engine))
    heard = listen_to_all()
    elsewhere(lambda: Job.objects.bulk_create(Job(name="noop") for _ in range(jobs)))

    assert len(set(heard())) == woken


@needs_postgresql
def test_who_has_just_rung_does_not_ring_again(engine):
    engine.park(register(engine))
    heard = listen_to_all()
    ringing._quiet_until["default", "default"] = float("inf")
    in_another_connection(lambda: Job.objects.create(name="noop"))
    assert heard() == []

    enqueue()
    assert len(heard()) == 1


@needs_postgresql
def test_a_ring_is_no_query_of_the_callers(engine, django_assert_num_queries):
    engine.park(register(engine))
    with django_assert_num_queries(1):
        Job.objects.create(name="noop")


@needs_postgresql
def test_after_a_lost_session_it_listens_in_the_new_one(doorbell_of, engine):
    doorbell = doorbell_of()
    settle(doorbell)
    end_session(connection)
    engine.forget_connection()
    settle(doorbell)

    enqueue()
    assert is_woken(doorbell)


@needs_postgresql
def test_the_end_of_the_session_ends_the_sleep(doorbell_of):
    from django.db import OperationalError

    doorbell = doorbell_of()
    settle(doorbell)
    end_session(connection)
    select.select([doorbell.socket], [], [], AT_ONCE)

    with pytest.raises(OperationalError):
        doorbell.rang()


@needs_postgresql
def test_behind_pgbouncer_it_looks_and_never_parks(doorbell_of):
    doorbell = doorbell_of()
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(pgbouncer())
        except databases.NoServer as reason:
            pytest.skip(str(reason))
        server = databases.django_server("postgresql", url)
        connection.close()
        connection.settings_dict = {**connection.settings_dict, **server}
        doorbell._came_at -= 1_000
        assert doorbell.pause_seconds() == doorbell.longest_seconds
        assert doorbell.socket is None
        assert not doorbell.rang()

        Job.objects.create(name="noop")
        assert doorbell.rang()
        connection.close()
        connection.settings_dict = connections.databases["default"]
    assert parked() == []


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────────


@needs_sqlite
def test_a_commit_of_another_connection_is_seen_in_the_file(doorbell_of, monkeypatch):
    doorbell = doorbell_of()
    monkeypatch.setattr(type(doorbell), "fallback_seconds", 600.0)
    assert not doorbell.rang()
    assert not doorbell.rang()

    enqueue()
    assert doorbell.rang()
    assert not doorbell.rang()  # the claim that follows has not taken it: no reason to look again


@needs_sqlite
def test_what_was_committed_between_the_claim_and_the_wait_is_seen(
    doorbell_of, engine, monkeypatch
):
    doorbell = doorbell_of()
    monkeypatch.setattr(type(doorbell), "fallback_seconds", 600.0)
    doorbell.rang()
    engine.claim(Claim(["default"], limit=1, worker_id=doorbell.worker_id, now=now()))
    enqueue()

    assert doorbell.rang()


@needs_sqlite
def test_where_no_commit_is_seen_it_looks_by_itself_after_a_while(doorbell_of, monkeypatch):
    """The doorbell is deaf for what its own connection commits."""
    doorbell = doorbell_of()
    doorbell.rang()
    Job.objects.create(name="noop")
    assert not doorbell.rang()

    monkeypatch.setattr(type(doorbell), "fallback_seconds", 0.0)
    assert doorbell.rang()


@needs_sqlite
def test_other_tables_do_not_make_it_claim(doorbell_of):
    doorbell = doorbell_of()
    doorbell.rang()
    elsewhere(lambda: WorkerProcess.objects.update(pid=8))

    assert not doorbell.rang()


# ── Everywhere ───────────────────────────────────────────────────────────────────────────────────


def test_who_looks_for_every_queue_finds_a_job_of_a_new_one(doorbell_of):
    doorbell = doorbell_of(EVERY_QUEUE)
    assert not doorbell.rang()
    enqueue(queue_name="never heard of before")

    assert doorbell.rang()


def test_a_ring_that_fails_is_nothing_to_the_caller(engine, monkeypatch):
    def fail(*args, **options):
        raise OSError("no such luck")

    monkeypatch.setattr(Engine, "wake_parked", fail)
    monkeypatch.setattr(type(engine), "wake_parked", fail)
    job = Job.objects.create(name="noop")
    ringing._quiet_until.clear()
    with transaction.atomic():
        Job.objects.create(name="noop")

    assert Job.objects.count() == 2
    assert Job.objects.filter(pk=job.pk).exists()


def test_a_process_asks_seldom_where_nobody_is_parked(engine, monkeypatch):
    asked = []
    monkeypatch.setattr(
        type(engine), "wake_parked", lambda self, queue, *, limit: asked.append(queue)
    )
    for _ in range(20):
        Job.objects.create(name="noop")
        Job.objects.create(name="noop", queue_name="mail")

    assert 2 <= len(asked) < 20
    assert set(asked) == {"default", "mail"}
