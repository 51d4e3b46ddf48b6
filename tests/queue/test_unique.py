"""Jobs that are declared `unique`: of those that are the same one waits or runs at a time."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.db.models import Value

from django_dbq import queue
from django_dbq.exceptions import AlreadyEnqueued, InvalidJob, WorkspaceNotJSON
from django_dbq.models import Job, unique
from django_dbq.rules.identifiers import uuid7
from django_dbq.rules.states import ALIVE, FINAL, State
from tests.compat.waiting import in_another_connection

pytestmark = pytest.mark.django_db

NOOP = "tests.project.tasks.noop"
MAY = {"account": 7, "month": "2031-05"}
JUNE = {"account": 7, "month": "2031-06"}

hook_calls = []


def note_hook(job):
    hook_calls.append(job.workspace)
    job.workspace["by_hook"] = len(hook_calls)


def fail_once(job):
    if job.attempts == 1:
        raise OSError("no luck")


@pytest.fixture(autouse=True)
def declared(settings):
    hook_calls.clear()
    settings.JOBS = {
        "report": {"tasks": [NOOP], "unique": True},
        "sync": {"tasks": [NOOP], "unique": ["account"]},
        "hooked": {"tasks": [NOOP], "unique": True, "creation_hook": f"{__name__}.note_hook"},
        "plain": [NOOP],
        "twice": {
            "tasks": [NOOP, f"{__name__}.fail_once"],
            "unique": True,
            "retry": {"max_attempts": 2, "backoff": 0},
        },
    }


def set_state(job, state):
    Job.objects.filter(pk=job.pk).update(state=state)


def test_a_unique_job_is_not_enqueued_twice_and_the_first_is_returned():
    first = queue.enqueue("report", MAY, priority=3)
    second = queue.enqueue("report", dict(reversed(MAY.items())), priority=9)

    assert second == first
    assert second.priority == 3
    assert Job.objects.count() == 1
    assert queue.enqueue("report", JUNE) != first
    assert Job.objects.create(name="report", workspace=MAY) == first


def test_jobs_that_are_not_unique_are_enqueued_each_time():
    assert queue.enqueue("plain", MAY) != queue.enqueue("plain", MAY)
    assert Job.objects.filter(unique_key=None).count() == 2


def test_the_save_of_a_second_unique_job_says_so_and_the_transaction_goes_on():
    first = queue.enqueue("report", MAY)
    with transaction.atomic():
        with pytest.raises(AlreadyEnqueued) as raised:
            Job(name="report", workspace=MAY).save()
        queue.enqueue("plain")

    assert raised.value.job == first
    assert str(first.pk) in str(raised.value)
    assert Job.objects.count() == 2


@pytest.mark.parametrize("state", ALIVE)
def test_a_unique_job_that_has_not_ended_is_in_the_way(state):
    first = queue.enqueue("report", MAY)
    set_state(first, state)

    assert queue.enqueue("report", MAY) == first


@pytest.mark.parametrize("state", FINAL)
def test_a_unique_job_that_has_ended_is_not_in_the_way(state):
    first = queue.enqueue("report", MAY)
    set_state(first, state)

    assert queue.enqueue("report", MAY) != first


def test_a_unique_job_stays_the_only_one_from_task_to_task_and_through_a_retry(work):
    first = queue.enqueue("twice", MAY)
    for attempts in (0, 1):  # its first task has succeeded; its second one has failed
        work()
        first.refresh_from_db()
        assert (first.state, first.attempts) == (State.READY, attempts)
        assert first.task_index == 1
        assert queue.enqueue("twice", MAY) == first
    work()

    first.refresh_from_db()
    assert first.state == State.COMPLETE
    assert queue.enqueue("twice", MAY) != first


def test_with_parts_named_the_rest_of_the_workspace_does_not_count():
    first = queue.enqueue("sync", MAY)

    assert queue.enqueue("sync", JUNE) == first
    assert queue.enqueue("sync", {"account": 8}) != first
    assert queue.enqueue("sync", None) == queue.enqueue("sync", {"month": 1})


def test_another_queue_makes_no_other_unique_job():
    assert queue.enqueue("report", MAY) == queue.enqueue("report", MAY, queue_name="other")


def test_what_a_creation_hook_adds_does_not_make_a_unique_job_another_one():
    assert queue.enqueue("hooked", {}) == queue.enqueue("hooked", {})
    assert queue.enqueue_many("hooked", [{}, {"a": 1}, {"a": 1}]) == 1


def test_a_unique_key_that_is_emptied_is_free():
    first = queue.enqueue("report", MAY)
    Job.objects.filter(pk=first.pk).update(unique_key=None)
    second = queue.enqueue("report", MAY)
    first.save()  # an instance that knows nothing of it

    assert second != first
    assert Job.objects.filter(unique_key=None).get() == first


def test_a_rerun_beside_one_that_is_the_same_is_refused_and_the_transaction_goes_on():
    first = queue.enqueue("report", MAY)
    set_state(first, State.FAILED)
    second = queue.enqueue("report", MAY)
    with transaction.atomic():
        with pytest.raises(AlreadyEnqueued) as raised:
            queue.rerun(first)
        queue.cancel(second)

    assert raised.value.job == second
    assert queue.rerun(first).state == State.READY


def test_a_copy_of_a_job_is_known_by_its_own_workspace():
    copy = queue.enqueue("report", MAY)
    copy.pk, copy._state.adding, copy.workspace = uuid7(), True, JUNE
    copy.save()

    assert Job.objects.count() == 2


def test_a_workspace_without_names_counts_as_a_whole():
    first = Job.objects.create(name="sync", workspace=[1, 2])

    assert Job.objects.create(name="sync", workspace=[1, 2]) == first
    assert Job.objects.create(name="sync", workspace=[1]) != first


def test_a_unique_job_whose_workspace_cannot_be_compared_is_refused():
    with pytest.raises(WorkspaceNotJSON):
        queue.enqueue("report", {"a": {1, 2}})
    with pytest.raises(InvalidJob, match="expression"):
        Job(name="report", workspace=Value("{}")).save()
    assert not Job.objects.exists()


def test_the_creation_hook_does_not_run_for_a_job_that_is_there():
    first = queue.enqueue("hooked", {})
    assert queue.enqueue("hooked", {}) == first

    assert len(hook_calls) == 1


def test_a_hook_that_meets_another_job_does_not_have_that_taken_for_its_own(settings):
    inner = queue.enqueue("report", MAY)
    settings.JOBS = {
        **settings.JOBS,
        "outer": {"tasks": [NOOP], "creation_hook": f"{__name__}.save_a_report"},
    }
    for enqueue in (queue.enqueue, lambda name: Job.objects.create(name=name)):
        with pytest.raises(AlreadyEnqueued) as raised:
            enqueue("outer")
        assert raised.value.job == inner
    assert Job.objects.get() == inner


def save_a_report(job):
    Job(name="report", workspace=MAY).save()


@pytest.mark.django_db(databases=["default", "other"])
def test_a_job_is_unique_in_the_database_to_which_it_goes():
    here, there = (queue.enqueue("report", MAY, using=alias) for alias in ("default", "other"))
    assert here != there

    assert queue.enqueue("report", MAY, using="other") == there
    with pytest.raises(AlreadyEnqueued) as raised:
        Job(name="report", workspace=MAY).save(using="other")
    assert raised.value.job == there


# ── many ─────────────────────────────────────────────────────────────────────────────────────────


def test_enqueue_many_leaves_out_unique_jobs_that_are_there():
    first = queue.enqueue("report", MAY)
    months = [{"account": 7, "month": f"2031-{month:02}"} for month in (4, 5, 6, 6, 5, 4)]

    assert queue.enqueue_many("report", months) == 2
    assert queue.enqueue_many("report", months) == 0
    enqueued = Job.objects.exclude(pk=first.pk).order_by("created")
    assert [job.workspace["month"] for job in enqueued] == ["2031-04", "2031-06"]
    assert all(job.next_task == NOOP for job in enqueued)


def test_bulk_create_writes_nothing_or_leaves_out_unique_jobs_that_are_there():
    queue.enqueue("report", MAY)

    def jobs():
        return [Job(name="report", workspace=workspace) for workspace in (MAY, JUNE)]

    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.bulk_create(jobs())
    assert Job.objects.count() == 1
    Job.objects.bulk_create(jobs(), ignore_conflicts=True)
    assert Job.objects.count() == 2


def test_a_job_made_by_hand_is_unique_too():
    def jobs():
        return [Job(name="report", next_task=NOOP, workspace=MAY)]

    Job.objects.bulk_create(jobs())
    Job.objects.bulk_create(jobs(), ignore_conflicts=True)

    assert Job.objects.count() == 1


# ── at once ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db(transaction=True)
def test_of_fifty_who_enqueue_a_unique_job_at_once_one_does_and_all_get_it():
    barrier, got = threading.Barrier(50, timeout=60), []

    def enqueue():
        try:
            barrier.wait()
            got.append(queue.enqueue("report", MAY).pk)
        finally:
            connections.close_all()

    run_in_threads(enqueue, 50)

    assert len(got) == 50
    assert set(got) == {Job.objects.get().pk}


@pytest.mark.django_db(transaction=True)
def test_while_unique_jobs_end_and_others_are_enqueued_there_is_never_more_than_one():
    alive, may_stop = Counter(), threading.Event()

    def enqueue():
        try:
            for _ in range(40):
                queue.enqueue("report", MAY)
                alive[Job.objects.filter(state__in=ALIVE).count()] += 1
        finally:
            connections.close_all()

    def end():
        try:
            while not may_stop.is_set():
                Job.objects.filter(state=State.NEW).update(state=State.COMPLETE)
        finally:
            connections.close_all()

    ending = threading.Thread(target=end)
    ending.start()
    try:
        run_in_threads(enqueue, 4)
    finally:
        may_stop.set()
        ending.join(60)

    assert sum(alive.values()) == 160
    assert set(alive) <= {0, 1}
    assert Job.objects.count() > 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="its one writer waits for the other")
def test_who_enqueues_a_unique_job_while_another_is_not_committed_waits_and_gets_that_one(
    monkeypatch,
):
    has_looked, got = threading.Event(), []
    look = unique.require_only_one

    def look_and_tell(job, *, using):
        look(job, using=using)
        has_looked.set()

    def enqueue():
        try:
            with transaction.atomic():
                got.append(queue.enqueue("report", MAY).pk)
                queue.enqueue("plain")
        finally:
            connections.close_all()

    with transaction.atomic():
        first = queue.enqueue("report", MAY)
        monkeypatch.setattr(unique, "require_only_one", look_and_tell)
        rival = threading.Thread(target=enqueue)
        rival.start()
        assert has_looked.wait(30)  # and found none
        assert got == []
    rival.join(30)

    assert got == [first.pk]
    assert Job.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has one writer")
def test_who_gets_a_unique_job_that_is_there_keeps_nobody_from_ending_it():
    first = queue.enqueue("report", MAY)
    with transaction.atomic():
        assert queue.enqueue("report", MAY) == first
        assert queue.enqueue_many("report", [MAY]) == 0
        in_another_connection(lambda: set_state(first, State.COMPLETE))

    assert queue.enqueue("report", MAY) != first


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="MySQL may end one before both have begun"
)
def test_of_two_transactions_that_wait_for_each_other_one_is_told_so_at_once():
    both_have_one, errors = threading.Barrier(2, timeout=60), []

    def enqueue(*workspaces):
        try:
            with transaction.atomic():
                queue.enqueue("report", workspaces[0])
                both_have_one.wait()
                queue.enqueue("report", workspaces[1])
        except OperationalError as error:
            errors.append(error)
        finally:
            connections.close_all()

    rival = threading.Thread(target=enqueue, args=(MAY, JUNE))
    rival.start()
    began_at = time.monotonic()
    enqueue(JUNE, MAY)
    rival.join(120)

    assert len(errors) == 1
    assert time.monotonic() - began_at < 20
    assert Job.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("many", [False, True])
def test_while_others_write_who_begins_a_transaction_with_it_is_not_refused(many):
    may_stop = threading.Event()

    def write():
        try:
            while not may_stop.is_set():
                Job.objects.create(name="plain")
        finally:
            connections.close_all()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for number in range(40):
            if many:
                queue.enqueue_many("report", [{"number": number}, MAY])
            else:
                with transaction.atomic():
                    queue.enqueue("report", {"number": number})
    finally:
        may_stop.set()
        writing.join(60)

    assert Job.objects.filter(name="report").count() == 40 + many


def run_in_threads(function, count):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


# ── what it costs ────────────────────────────────────────────────────────────────────────────────


def test_a_unique_job_that_is_there_is_found_by_the_index():
    for number in range(300):
        Job.objects.create(name="report", workspace={"number": number})
    Job.objects.update(state=State.COMPLETE)
    job = queue.enqueue("report", MAY)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
    plan = alike(job).explain()

    assert "dbq_unique" in plan


def alike(job):
    from django_dbq.models.unique import HasUniqueKey

    return Job.objects.order_by().filter(HasUniqueKey(job.unique_key))
