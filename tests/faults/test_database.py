"""Scenarios 8, 12, 13, 14, 15, 36: a database that restarts, refuses, is full, or makes wait."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone

from django_dbq.models import Job
from tests.compat.waiting import in_another_connection, wait_until
from tests.faults.conftest import (
    NOISE,
    unfinished,
    wait_for_workers,
    wait_until_it_may_judge,
)

pytestmark = pytest.mark.processes

RESUMES_WITHIN = 3.0  # seconds after the database answers again
ONLY_SQLITE = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite has 1 writer")
ONLY_POSTGRESQL = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="of PostgreSQL")
NOT_SQLITE = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has no server")


@NOT_SQLITE
@pytest.mark.slow_faults
@pytest.mark.parametrize("times", [1, 5])
def test_08_the_server_dies_under_load_and_comes_back(
    server, team, enqueue, runs, wait_for_run, go_on, all_is_well, times
):
    held = enqueue("hold", priority=1) + enqueue("hold_async", 200, priority=1)
    for _ in range(2):
        team.start("--threads", 2, "--async-concurrency", 200)
    wait_for_workers(2, team)
    for job in held:
        wait_for_run(job)
    enqueue("steps", 100 * times, workspace={"seconds": 0.01})
    for name in ("atomic_effect", "ask_async"):
        enqueue(name, 50 * times, workspace={"seconds": 0.01})
    for _ in range(times):
        before = len(runs())
        wait_until(lambda: len(runs()) > before + 50, "some ran", story=team.story)  # noqa: B023
        # PostgreSQL's "immediate" shutdown; MariaDB has none but this.
        server.end(signal.SIGQUIT if connection.vendor == "postgresql" else signal.SIGKILL)
        connection.close()
        server.start()
        back_at = time.monotonic()
        wait_until(
            lambda: runs()[-1].started > back_at,  # noqa: B023
            "jobs ran again",
            story=team.story,
        )
        assert runs()[-1].started - back_at < RESUMES_WITHIN * NOISE
    go_on()

    all_is_well()
    assert all(member.runs for member in team.members), team.story()
    assert {job: len(runs(job)) for job in held} == dict.fromkeys(held, 1)
    assert not Job.objects.filter(crashes__gt=0).exists()


@NOT_SQLITE
@pytest.mark.slow_faults
def test_12_while_the_database_takes_no_writes_workers_wait_without_haste(
    server, team, enqueue, runs, wait_for_run, go_on, all_is_well
):
    (held,) = enqueue("hold", priority=1)
    enqueue("steps", 100)
    member = team.start("--threads", 2, database=a_user_who_must_obey())
    wait_for_run(held)
    with read_only():
        wait_until(lambda: "trying again" in member.output, "it noticed", story=team.story)
        noticed_at, before = time.monotonic(), member.output.count("trying again")
        wait_until(lambda: time.monotonic() - noticed_at > 6, "a while went by")
        tries = member.output.count("trying again") - before
    assert tries < 30  # no hot spin
    go_on()

    found = all_is_well()
    assert member.runs
    assert not found.duplicates


def a_user_who_must_obey():
    """MariaDB's root may write to a read-only database; the worker is a plain user there."""
    if connection.vendor == "postgresql":
        return {}
    with connection.cursor() as cursor:
        cursor.execute("CREATE USER IF NOT EXISTS plain@localhost")
        cursor.execute(f"GRANT ALL ON {connection.settings_dict['NAME']}.* TO plain@localhost")
    return {"USER": "plain"}


@contextmanager
def read_only():
    """What a fail-over to a standby looks like to those who are connected to it."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET default_transaction_read_only = off")  # of this session
            cursor.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            cursor.execute("SELECT pg_reload_conf()")
        else:
            cursor.execute("SET GLOBAL read_only = 1")
        try:
            yield
        finally:
            if connection.vendor == "postgresql":
                cursor.execute("ALTER SYSTEM RESET default_transaction_read_only")
                cursor.execute("SELECT pg_reload_conf()")
            else:
                cursor.execute("SET GLOBAL read_only = 0")


@ONLY_POSTGRESQL
@pytest.mark.slow_faults
def test_13_a_full_disk_is_waited_out(server, team, enqueue, all_is_well):
    """MariaDB is left out: InnoDB itself waits for space, or aborts, as it is configured."""
    with small_disk(server) as fill_up:
        enqueue("grow", 10, workspace={"bytes": 200_000})
        make_room = fill_up()
        member = team.start()
        wait_until(lambda: member.output.count("trying again") > 3, "it noticed", story=team.story)
        make_room()
        found = all_is_well()
    assert member.runs
    assert not found.duplicates


@contextmanager
def small_disk(server):
    """The job table on a file system of 24 MB; gives a function that fills that up."""
    place = server.directory / "small-disk"
    place.mkdir()
    owner = {"uid": server.account.get("user", 0), "gid": server.account.get("group", 0)}
    options = ",".join(["size=24m", *(f"{name}={number}" for name, number in owner.items())])
    if subprocess.call(["mount", "-t", "tmpfs", "-o", options, "none", place]):
        pytest.skip("no file system may be mounted here: it takes root")
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
            cursor.execute("ALTER TABLE django_dbq_job SET TABLESPACE small")
        yield fill_with_ballast
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE django_dbq_job SET TABLESPACE pg_default")
            cursor.execute("DROP TABLESPACE small")
    finally:
        subprocess.call(["umount", "--lazy", place])


def fill_with_ballast():
    """Fill the small disk; returns what empties it again."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE ballast (filling text) TABLESPACE small")
        with suppress(OperationalError):  # no space left
            while True:
                cursor.execute(
                    "INSERT INTO ballast SELECT repeat('x', 1000) FROM generate_series(1, 500)"
                )

    def make_room():
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE ballast")

    return make_room


@ONLY_SQLITE
def test_13_a_full_file_is_waited_out(team, enqueue, all_is_well):
    enqueue("grow", 10, workspace={"bytes": 200_000})
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE ballast (filling blob)")
        cursor.execute("INSERT INTO ballast VALUES (zeroblob(4000000))")
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
    member = team.start(DBQ_FAULTS_MAX_PAGES=pages)
    wait_until(lambda: member.output.count("trying again") >= 2, "it noticed", story=team.story)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE ballast")

    found = all_is_well()
    assert member.runs
    assert not found.duplicates


@NOT_SQLITE
def test_14_deadlocks_and_lock_timeouts_lose_nothing(team, enqueue, all_is_well):
    jobs = enqueue("atomic_effect", 60)

    def a_worker_was_hit():
        """Perhaps only after a while: until then there has to be work."""
        if unfinished().count() < 50:
            enqueue("steps", 100, workspace={"seconds": 0.05})
        hit = ("trying again", "somebody else has locked its row")
        return any(words in member.output for member in team.members for words in hit)

    with rivals(3):
        team.start("--threads", 2, database=impatient())
        team.start("--threads", 2, database=impatient())
        wait_until(a_worker_was_hit, "a worker was hit", seconds=60, story=team.story)

    found = all_is_well()
    assert set(found.duplicates) <= set(jobs)  # what is rolled back runs again


def impatient():
    options = dict(connection.settings_dict["OPTIONS"])
    if connection.vendor == "postgresql":
        options["options"] = "-c lock_timeout=60ms -c deadlock_timeout=20ms"
    else:
        options["init_command"] = "SET SESSION innodb_lock_wait_timeout = 1"
    return {"OPTIONS": options}


@contextmanager
def rivals(count):
    """Threads that lock rows of held jobs, in any order, for longer than our workers will wait."""
    over = threading.Event()
    held = Job.objects.filter(worker_id__isnull=False)
    longest = 0.12 if connection.vendor == "postgresql" else 3.0

    def get_in_the_way():
        try:
            while not over.wait(0.01):
                try:
                    with transaction.atomic():
                        # A claim steps over what is locked: it is the outcomes that have to wait.
                        ids = list(held.values_list("pk", flat=True))
                        for pk in random.sample(ids, min(3, len(ids))):
                            Job.objects.filter(pk=pk).update(gate=None)
                            over.wait(random.uniform(0, longest / 3))
                except OperationalError:  # the deadlock's victim was this thread
                    connection.close()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=get_in_the_way) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [(1, 4), pytest.param(5, 12, marks=pytest.mark.slow_faults)],
    ids=["4-seconds", "12-seconds"],
)
def test_15_another_process_keeps_the_file_locked(
    team, enqueue, runs, wait_for_run, go_on, all_is_well, timeout, seconds
):
    """Longer than a connection waits for the lock, and than the lease of these workers."""
    team.database = {"OPTIONS": {"timeout": timeout}}
    (held,) = enqueue("hold", priority=1)
    team.start("--threads", 2)
    wait_for_run(held)
    other = team.start()
    wait_for_workers(2, team)
    wait_until_it_may_judge(other)
    enqueue("steps", 30)

    def keep_it_locked():
        with connection.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            since = time.monotonic()
            wait_until(lambda: time.monotonic() - since > seconds, "some seconds went by")
            cursor.execute("ROLLBACK")

    in_another_connection(keep_it_locked)
    go_on()

    found = all_is_well()
    assert all(member.runs for member in team.members), team.story()
    assert len(runs(held)) == 1
    assert not found.duplicates
    assert set(Job.objects.values_list("crashes", flat=True)) == {0}


@NOT_SQLITE
def test_36_a_job_whose_transaction_is_slow_runs_when_it_is_committed_and_else_not_at_all(
    team, enqueue, runs, all_is_well
):
    """Also when it is older than all that have run since, and of a lower priority."""
    team.start("--threads", 2)
    with closing(connections.create_connection("default")) as slow:
        slow.set_autocommit(False)
        committed = insert_old_job(slow)
        enqueue("note", 200, priority=-1)
        wait_until(lambda: len(runs()) == 200, "the later ones ran", story=team.story)
        assert not runs(committed)
        slow.commit()
        committed_at = time.monotonic()
        wait_until(lambda: runs(committed), "the slow one ran", story=team.story)
        assert runs(committed)[0].started - committed_at < 1 * NOISE

        undone = insert_old_job(slow)
        enqueue("note", 20)
        wait_until(lambda: len(runs()) == 221, "the later ones ran", story=team.story)
        slow.rollback()

    all_is_well()
    assert not runs(undone)


def insert_old_job(slow):
    """On another connection; its id as a text."""
    job = Job(name="note")
    job.next_task, job.task_index, job.workspace = job.declaration.tasks[0], 0, {}
    created = timezone.now() - timedelta(hours=1)
    names = ["id", "created", "modified", "name", "state", "next_task", "task_index"]
    names += ["workspace", "queue_name", "priority", "token", "attempts", "crashes"]
    job.created = job.modified = created
    values = [
        Job._meta.get_field(name).get_db_prep_save(getattr(job, name), slow) for name in names
    ]
    with slow.cursor() as cursor:
        places = ", ".join(["%s"] * len(names))
        cursor.execute(f"INSERT INTO django_dbq_job ({', '.join(names)}) VALUES ({places})", values)
    return str(job.pk)
