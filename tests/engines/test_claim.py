"""Claim: up to n jobs, the best first, none to two callers."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection, transaction

from django_dbq.engines import Claim
from django_dbq.models import Job
from django_dbq.rules.declarations import Known
from django_dbq.rules.states import State
from tests.compat.waiting import in_another_connection
from tests.engines.conftest import NOW, ids, row, values

ALL_BUT_WAITING = [state for state in State if state not in (State.NEW, State.READY)]


def test_an_empty_queue_gives_nothing(claim):
    assert claim(10) == []


def test_a_claim_takes_no_more_than_its_limit(claim, job_row):
    for _ in range(5):
        job_row()

    assert len(claim(3)) == 3
    assert len(claim(3)) == 2
    assert len(claim(3)) == 0


def test_a_claim_for_no_job_takes_none(claim, job_row):
    job_row()

    assert claim(0) == []
    assert Job.objects.get().state == State.NEW


def test_jobs_come_by_priority_and_then_by_age(claim, job_row):
    low_old = job_row(priority=-1, minutes_old=9)
    high_new = job_row(priority=5, minutes_old=1)
    middle_new = job_row(minutes_old=2)
    high_old = job_row(priority=5, minutes_old=3)
    middle_old = job_row(minutes_old=8)

    order = [high_old, high_new, middle_old, middle_new, low_old]
    assert ids(claim(5)) == ids(order)


def test_one_by_one_jobs_come_in_the_same_order(claim, job_row):
    jobs = [job_row(priority=number % 3, minutes_old=number) for number in range(9)]
    best_first = sorted(jobs, key=lambda job: (-job.priority, job.created))

    assert [claim()[0].pk for _ in jobs] == ids(best_first)


def test_the_smallest_and_the_largest_priority_have_their_places(claim, job_row):
    smallest, middle, largest = (job_row(priority=p) for p in (-32_768, 0, 32_767))

    assert ids(claim(3)) == ids([largest, middle, smallest])


def test_the_first_queue_is_emptied_before_the_next_is_looked_at(claim, job_row):
    urgent_elsewhere = job_row(queue_name="second", priority=9, minutes_old=9)
    here = [job_row(queue_name="first", minutes_old=minutes) for minutes in (2, 1)]
    job_row(queue_name="third")

    assert ids(claim(1, "first", "second")) == ids(here[:1])
    assert ids(claim(2, "first", "second")) == ids([here[1], urgent_elsewhere])
    assert claim(5, "first", "second") == []


@pytest.mark.parametrize("name", ["other", "Default", "default ", "défault"])
def test_a_claim_leaves_other_queues_alone(claim, job_row, name):
    if connection.vendor == "mysql" and name != "other":
        pytest.skip("its collation takes these names for the same one")
    job_row(queue_name=name)

    assert claim() == []


def test_a_new_job_and_a_ready_one_are_equals(claim, job_row):
    new = job_row(minutes_old=1)
    ready = job_row(state=State.READY, minutes_old=2)

    assert ids(claim(2)) == ids([ready, new])


@pytest.mark.parametrize("state", ALL_BUT_WAITING)
def test_a_job_that_does_not_wait_is_not_claimed(claim, job_row, state):
    job_row(state=state)

    assert claim() == []


def test_a_job_behind_a_gate_is_not_claimed(claim, job_row):
    job_row(gate=1)

    assert claim() == []


def test_a_claimed_job_knows_its_row(claim, job_row):
    job = job_row(workspace={"a": [1, None, "ü"]}, priority=3)
    (claimed,) = claim(worker_id=77)

    assert isinstance(claimed, Job)
    for name, value in values(job).items():
        assert getattr(claimed, name) == value, name


def test_a_claim_writes_down_who_has_the_job_since_when(claim, job_row):
    job = job_row()
    claim(worker_id=77)

    now = row(job)
    assert (now.state, now.worker_id) == (State.PROCESSING, 77)
    assert (now.token, now.attempts, now.crashes) == (1, 1, 0)
    assert now.started_at == now.modified == NOW
    assert now.finished_at is None


def test_a_claim_without_a_worker_leaves_the_job_without_an_owner(claim, job_row):
    job = job_row()
    claim(worker_id=None)

    assert row(job).state == State.PROCESSING
    assert row(job).worker_id is None


def test_each_claim_of_a_job_has_a_higher_token_and_keeps_the_first_start(claim, job_row):
    job = job_row()
    for number in range(1, 4):
        (claimed,) = claim(now=NOW + timedelta(minutes=number))
        assert claimed.token == number
        Job.objects.filter(pk=job.pk).update(state=State.READY)

    assert row(job).started_at == NOW + timedelta(minutes=1)


def test_a_job_that_was_tried_tens_of_thousands_of_times_is_still_claimed(claim, job_row):
    """A failure hook that sets its job to READY for ever must not stop the whole queue."""
    job = job_row(attempts=32_767)

    assert ids(claim()) == [job.pk]
    assert row(job).attempts == 32_768


# ── No two callers get the same job ──────────────────────────────────────────────────────────────


def test_of_many_callers_at_once_no_two_get_the_same_job(shared_engine, side_by_side):
    jobs = 3_000
    assert shared_engine.insert_alike(Job(name="noop"), ({} for _ in range(jobs))) == jobs

    def drain(number):
        mine, limits = [], [1, 7, 50, 100]
        while True:
            limit = limits[len(mine) % len(limits)]
            got = shared_engine.claim(Claim(["default"], limit=limit, worker_id=number, now=NOW))
            assert len(got) <= limit
            mine += ids(got)
            # Rivals' locks are stepped over: nothing for us does not mean nothing there.
            if not got and not Job.objects.filter(state=State.NEW).exists():
                return mine

    taken = Counter(pk for mine in side_by_side(drain, threads=4) for pk in mine)

    assert len(taken) == jobs
    assert set(taken.values()) == {1}
    assert set(Job.objects.values_list("token", flat=True)) == {1}


def test_callers_between_whom_jobs_fall_due_get_each_of_them_once(shared_engine, side_by_side):
    jobs = 600
    template = Job(name="noop", run_after=NOW - timedelta(hours=1))
    shared_engine.insert_alike(template, ({} for _ in range(jobs)))

    def drain(number):
        mine = []
        while Job.objects.filter(state=State.NEW).exists():
            mine += ids(
                shared_engine.claim(Claim(["default"], limit=10, worker_id=number, now=NOW))
            )
        return mine

    taken = Counter(pk for mine in side_by_side(drain, threads=3) for pk in mine)

    assert len(taken) == jobs
    assert set(taken.values()) == {1}


def test_callers_that_walk_queues_in_opposite_order_do_not_lock_each_other_out(
    shared_engine, side_by_side
):
    for queue in ("a", "b"):
        shared_engine.insert_alike(Job(name="noop", queue_name=queue), ({} for _ in range(300)))

    def drain(number):
        queues = ["a", "b"] if number % 2 else ["b", "a"]
        mine = []
        while Job.objects.filter(state=State.NEW).exists():
            mine += ids(shared_engine.claim(Claim(queues, limit=7, worker_id=number, now=NOW)))
        return mine

    taken = Counter(pk for mine in side_by_side(drain, threads=4) for pk in mine)

    assert len(taken) == 600
    assert set(taken.values()) == {1}


@pytest.mark.skipif("not connection.features.has_select_for_update_skip_locked")
def test_a_row_that_a_rival_has_locked_is_stepped_over(shared_engine):
    locked, free = (Job.objects.create(name="noop") for _ in range(2))
    with transaction.atomic():
        assert Job.objects.select_for_update().get(pk=locked.pk)

        got = in_another_connection(
            lambda: shared_engine.claim(Claim(["default"], limit=2, worker_id=1, now=NOW))
        )

    assert ids(got) == [free.pk]
    assert ids(shared_engine.claim(Claim(["default"], limit=2, worker_id=1, now=NOW))) == [
        locked.pk
    ]


@pytest.mark.skipif("not connection.features.has_select_for_update_skip_locked")
def test_a_scheduled_row_that_a_rival_has_locked_holds_up_nobody_and_is_claimed_later(
    shared_engine,
):
    due = NOW - timedelta(minutes=1)
    locked, free = (Job.objects.create(name="noop", run_after=due) for _ in range(2))
    with transaction.atomic():
        assert Job.objects.select_for_update().get(pk=locked.pk)

        got = in_another_connection(
            lambda: shared_engine.claim(Claim(["default"], limit=2, worker_id=1, now=NOW))
        )

    assert ids(got) == [free.pk]
    assert ids(shared_engine.claim(Claim(["default"], limit=2, worker_id=1, now=NOW))) == [
        locked.pk
    ]


def test_a_job_whose_insert_is_not_committed_is_not_claimed(shared_engine):
    if connection.vendor == "sqlite":
        pytest.skip("its one writer waits for the other")
    with transaction.atomic():
        Job.objects.create(name="noop")

        got = in_another_connection(
            lambda: shared_engine.claim(Claim(["default"], limit=1, worker_id=1, now=NOW))
        )

    assert got == []


# ── What is left to others ───────────────────────────────────────────────────────────────────────


def renamed(job, name):
    """As if other code had enqueued it: no name that is declared here."""
    Job.objects.filter(pk=job.pk).update(name=name)
    return job


@pytest.mark.parametrize(("names", "tasks"), [(3_000, 0), (0, 300)], ids=["names", "tasks"])
def test_a_claim_leaves_out_thousands_of_names_and_hundreds_of_tasks(engine, job_row, names, tasks):
    renamed(job_row(next_task="app.task_7", minutes_old=5), "tenant_7")
    mine = job_row()
    but = {(f"tenant_{number}", "") for number in range(names)}
    but |= {(f"tenant_{number}", f"app.task_{number}") for number in range(tasks)}
    claim = Claim(["default"], limit=2, worker_id=1, now=NOW, but=but)

    assert [head.queue for head in engine.heads(now=NOW, but=but)] == ["default"]
    assert ids(engine.claim(claim)) == [mine.pk]


def test_a_claim_leaves_one_task_of_a_name_out_and_takes_the_others(engine, job_row):
    job_row(next_task="app.first")
    job_row(next_task="app.second")
    mine = job_row(next_task="app.third")
    but = {("noop", "app.first"), ("noop", "app.second")}

    assert ids(engine.claim(Claim(["default"], 3, worker_id=1, now=NOW, but=but))) == [mine.pk]


def test_a_claim_of_known_jobs_takes_those_and_django_tasks(engine, job_row):
    renamed(job_row(next_task="app.known"), "tenant_1")
    job_row(next_task="app.unknown")
    mine = job_row(next_task="app.known", minutes_old=2)
    django_task = renamed(job_row(backend="default", minutes_old=1), "tenant_2")
    only = Known(["noop"], ["app.known"])
    claim = Claim(["default"], 4, worker_id=1, now=NOW, only=only)

    assert ids(engine.claim(claim)) == [mine.pk, django_task.pk]
    assert engine.heads(now=NOW, only=only) == []


def test_where_no_job_is_known_none_is_taken(engine, job_row):
    job_row()

    assert engine.claim(Claim(["default"], 4, worker_id=1, now=NOW, only=Known([], []))) == []
