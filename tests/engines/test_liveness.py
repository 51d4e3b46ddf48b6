"""Who is alive, and what becomes of the jobs of those who are not."""

from __future__ import annotations

import sys  # noqa: F401 (in conditions of skipif)
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_dbq.engines import Claim, holders
from django_dbq.models import Attempt, Job, WorkerProcess
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import SUCCESS, Advanced, Requeued
from django_dbq.rules.states import FINAL, HELD, State
from tests.engines.conftest import NOW, ids, row, story, values

LATER = NOW + timedelta(minutes=5)
LOST = Death(worker="host:7", cause="nobody knows")


@pytest.fixture
def worker(engine):
    """Register a worker; returns its id."""

    def worker(*, last_seen=NOW):
        facts = {"hostname": "host", "pid": 7, "queues": ["default"], "threads": 1}
        return engine.register(**facts, now=last_seen).pk

    return worker


# ── Hand back ────────────────────────────────────────────────────────────────────────────────────


def test_of_a_job_that_a_3_3_worker_has_begun_none_is_as_good_as_new(engine, job_row, claim):
    job_row(state="READY")  # between two tasks; 3.3 keeps no `started_at`
    engine.hand_back(claim(now=LATER), now=LATER)

    job = Job.objects.get()
    assert (job.state, job.attempts) == ("READY", 0)
    assert job.started_at is not None


def test_a_job_that_is_handed_back_unstarted_is_as_new(engine, job_row, claim):
    job = job_row()
    (claimed,) = claim()

    assert engine.hand_back([claimed], now=LATER) == 1
    assert (row(job).state, row(job).worker_id) == (State.NEW, None)
    assert (row(job).attempts, row(job).started_at) == (0, None)
    assert row(job).token >= claimed.token


def test_handing_back_costs_no_attempt_however_often_it_happens(engine, job_row, claim):
    job_row()
    for _ in range(5):
        (claimed,) = claim()
        assert claimed.attempts == 1
        engine.hand_back([claimed], now=LATER)


def test_a_job_with_a_task_behind_it_is_handed_back_as_ready(engine, job_row, claim):
    job = job_row()
    engine.acknowledge([(claim()[0], Advanced(next_task="app.b", task_index=1))], now=NOW)
    started_at = row(job).started_at
    engine.hand_back(claim(now=LATER), now=LATER)

    assert (row(job).state, row(job).attempts) == (State.READY, 0)
    assert row(job).started_at == started_at


def test_a_job_with_an_attempt_behind_it_is_handed_back_as_ready(engine, job_row, claim):
    job = job_row()
    (claimed,) = claim()
    engine.acknowledge([(claimed, Requeued(story=story(claimed)))], now=NOW)
    engine.hand_back(claim(), now=LATER)

    assert (row(job).state, row(job).attempts) == (State.READY, 1)


def test_a_job_that_was_handed_back_keeps_its_place(engine, job_row, claim):
    first, second = job_row(minutes_old=2), job_row(minutes_old=1)
    engine.hand_back(claim(), now=LATER)

    assert ids(claim(2)) == [first.pk, second.pk]


def test_jobs_of_different_tokens_are_handed_back_together(engine, job_row, claim):
    for token in (0, 3, 3, 8):
        job_row(token=token)

    assert engine.hand_back(claim(4), now=LATER) == 4
    assert set(Job.objects.values_list("state", flat=True)) == {State.NEW}


def test_who_has_lost_a_job_cannot_hand_it_back(engine, job_row, claim):
    job_row()
    (claimed,) = claim()
    engine.rescue(1, LOST, now=NOW)
    claim(worker_id=2)
    before = values(claimed)

    assert engine.hand_back([claimed], now=LATER) == 0
    assert values(claimed) == before


def test_handing_back_twice_gives_no_second_attempt_back(engine, job_row, claim):
    job_row()
    jobs = claim()
    engine.hand_back(jobs, now=LATER)

    assert engine.hand_back(jobs, now=LATER) == 0
    assert row(jobs[0]).attempts == 0


def test_handing_back_nothing_is_no_work(engine):
    assert engine.hand_back([], now=NOW) == 0


def test_a_worker_gives_up_what_it_holds_without_knowing(engine, job_row, claim):
    """The answer to a claim was lost with the connection."""
    for _ in range(4):
        job_row()
    known, unknown = claim(2), claim(1)
    (of_another,) = claim(1, worker_id=2)

    assert engine.hand_back_unknown(1, known=set(ids(known)), now=LATER) == 1
    assert [row(job).state for job in known] == [State.PROCESSING] * 2
    assert (row(unknown[0]).state, row(unknown[0]).attempts) == (State.NEW, 0)
    assert row(of_another).state == State.PROCESSING


def test_a_worker_that_knows_all_that_it_holds_gives_up_nothing(engine, job_row, claim):
    job_row()
    jobs = claim()

    assert engine.hand_back_unknown(1, known=set(ids(jobs)), now=LATER) == 0
    assert engine.hand_back_unknown(99, known=set(), now=LATER) == 0
    assert row(jobs[0]).state == State.PROCESSING


def test_a_worker_asks_what_it_holds_without_a_lock(engine, job_row, claim):
    job_row()
    claim()

    with CaptureQueriesContext(connection) as sent:
        engine.hand_back_unknown(1, known=set(), now=LATER)
    assert not any("FOR UPDATE" in query["sql"] for query in sent)


def test_what_others_got_in_between_is_not_taken_from_them(engine, job_row, claim, monkeypatch):
    """A rescuer and another worker, or a 3.3 worker, which touches no token."""
    for _ in range(2):
        job_row()
    first, second = claim(2)

    def others_come_first(jobs, *, now):
        engine.rescue(1, LOST, now=NOW)
        claim(worker_id=2)
        Job.objects.filter(state=State.NEW).update(state=State.PROCESSING)
        return hand_back(jobs, now=now)

    hand_back = engine.hand_back
    monkeypatch.setattr(engine, "hand_back", others_come_first)

    assert engine.hand_back_unknown(1, known=set(), now=LATER) == 0
    assert {row(job).state for job in (first, second)} == {State.PROCESSING}
    assert {row(job).worker_id for job in (first, second)} == {2, None}


# ── Registration and heartbeats ──────────────────────────────────────────────────────────────────


def test_a_worker_s_row_tells_who_it_is(engine):
    facts = {"hostname": "h" * 300, "pid": 42, "queues": ["a", "b"], "threads": 1}
    registered = engine.register(**facts, now=NOW)
    worker = WorkerProcess.objects.get()

    assert worker.pk == registered.pk
    assert (worker.hostname, worker.pid, worker.queues) == ("h" * 255, 42, ["a", "b"])
    assert worker.started_at == worker.last_seen == NOW


def test_the_id_of_a_worker_is_never_used_again(engine, worker):
    first = worker()
    engine.deregister(first)

    assert worker() > first


def test_a_worker_is_silent_until_its_next_heartbeat(engine, worker):
    one, another = worker(), worker()
    assert engine.silent_workers(since=LATER) == [one, another]

    assert engine.heartbeat([one], now=LATER) == set()
    assert engine.silent_workers(since=LATER) == [another]


def test_a_worker_that_was_heard_at_that_very_moment_is_not_silent(engine, worker):
    worker(last_seen=LATER)

    assert engine.silent_workers(since=LATER) == []


def test_a_heartbeat_tells_which_workers_have_been_taken_for_dead(engine, worker):
    living, dead = worker(), worker()
    engine.rescue(dead, LOST, now=NOW)

    assert engine.heartbeat([living, dead], now=LATER) == {dead}
    assert WorkerProcess.objects.get().last_seen == LATER


def test_a_heartbeat_of_nobody_is_no_work(engine):
    assert engine.heartbeat([], now=NOW) == set()


# ── Rescue ───────────────────────────────────────────────────────────────────────────────────────


def test_a_dead_worker_s_jobs_are_given_back_and_the_worker_is_forgotten(
    engine, worker, job_row, claim
):
    dead = worker()
    for _ in range(3):
        job_row()
    jobs = claim(3, worker_id=dead)
    Job.objects.filter(pk=jobs[0].pk).update(state=State.STOPPING)

    assert engine.rescue(dead, LOST, now=LATER) == 3
    for job in jobs:
        assert (row(job).state, row(job).worker_id) in [(State.READY, None), (State.NEW, None)]
    assert not WorkerProcess.objects.exists()
    assert set(ids(claim(3, worker_id=9))) == set(ids(jobs))


def death_of(jobs, **facts):
    return Death(worker="host:7", cause="a signal", was_running=frozenset(ids(jobs)), **facts)


def test_a_crash_costs_no_attempt_and_is_counted_and_told(engine, worker, job_row, claim):
    job_row()
    dead = worker()
    jobs = claim(worker_id=dead)
    engine.rescue(dead, death_of(jobs), now=LATER)

    job = row(jobs[0])
    assert (job.state, job.attempts, job.crashes) == (State.READY, 0, 1)
    told = Attempt.objects.get()
    assert (told.job_id, told.worker, told.number) == (job.pk, "host:7", 1)
    assert told.exception == "django_dbq.exceptions.WorkerDied"
    assert told.message.endswith("a signal")


def test_only_the_job_that_ran_is_charged(engine, worker, job_row, claim):
    for _ in range(3):
        job_row()
    dead = worker()
    ran, *others = claim(3, worker_id=dead)
    engine.rescue(dead, death_of([ran]), now=LATER)

    assert row(ran).crashes == 1
    assert {(row(job).state, row(job).attempts, row(job).crashes) for job in others} == {
        (State.NEW, 0, 0)
    }
    assert Attempt.objects.count() == 1


def test_of_jobs_that_had_ended_only_one_that_is_not_written_down_is_charged(
    engine, worker, job_row, claim
):
    for _ in range(2):
        job_row()
    dead = worker()
    written, unwritten = jobs = claim(2, worker_id=dead)
    engine.acknowledge([(written, SUCCESS)], now=NOW)
    death = Death("host:7", "?", was_running=frozenset(), had_ended=frozenset(ids(jobs)))
    engine.rescue(dead, death, now=LATER)

    assert (row(written).state, row(written).crashes) == (State.COMPLETE, 0)
    assert (row(unwritten).state, row(unwritten).crashes) == (State.READY, 1)


@pytest.mark.parametrize(("threads", "charged"), [(1, 0), (2, 2)])
def test_where_nobody_knows_what_ran_few_jobs_did(engine, job_row, claim, threads, charged):
    for _ in range(2):
        job_row()
    dead = engine.register(hostname="host", pid=7, queues=[], now=NOW, threads=threads).pk
    claim(2, worker_id=dead)
    engine.rescue(dead, LOST, now=LATER)

    assert sum(Job.objects.values_list("crashes", flat=True)) == charged


def test_a_job_that_ran_in_a_worker_that_was_made_to_end_is_innocent(
    engine, worker, job_row, claim
):
    job_row()
    dead = worker()
    jobs = claim(worker_id=dead)
    engine.rescue(dead, death_of(jobs, is_crash=False), now=LATER)

    job = row(jobs[0])
    assert (job.state, job.attempts, job.crashes) == (State.READY, 0, 0)
    assert job.started_at is not None
    assert not Attempt.objects.exists()


def test_a_job_that_its_worker_was_killed_for_is_marked_so(engine, worker, job_row, claim):
    for _ in range(2):
        job_row()
    dead = worker()
    culprit, neighbour = jobs = claim(2, worker_id=dead)
    death = death_of(jobs, overran=frozenset([culprit.pk]), is_crash=False)
    engine.rescue(dead, death, now=LATER)

    assert (row(culprit).killed_at, row(culprit).crashes) == (LATER, 0)
    assert (row(neighbour).killed_at, row(neighbour).crashes) == (None, 0)
    assert Attempt.objects.get().exception == "django_dbq.exceptions.JobTimeout"


def test_a_rescue_touches_the_dead_worker_s_jobs_alone(engine, worker, job_row, claim):
    dead, living = worker(), worker()
    for _ in range(3):
        job_row()
    of_the_living = claim(worker_id=living)
    of_nobody = claim(worker_id=None)
    waiting = Job.objects.get(state=State.NEW)
    before = [values(job) for job in [*of_the_living, *of_nobody, waiting]]

    assert engine.rescue(dead, LOST, now=LATER) == 0
    assert [values(job) for job in [*of_the_living, *of_nobody, waiting]] == before


@pytest.mark.parametrize("state", FINAL)
def test_a_rescue_leaves_finished_jobs_of_the_dead_worker_alone(engine, worker, job_row, state):
    job = job_row(state=state, worker_id=worker())
    before = values(job)
    engine.rescue(before["worker_id"], LOST, now=LATER)

    assert values(job) == before


def test_all_jobs_are_rescued_however_many(engine, worker, job_row, claim, monkeypatch):
    monkeypatch.setattr(holders, "RESCUED_AT_ONCE", 3)
    dead = worker()
    for _ in range(9):
        job_row()
    claim(9, worker_id=dead)

    assert engine.rescue(dead, LOST, now=LATER) == 9


def test_who_is_rescued_twice_gives_nothing_back_the_second_time(engine, worker, job_row, claim):
    job_row()
    dead = worker()
    claim(worker_id=dead)

    assert engine.rescue(dead, LOST, now=LATER) == 1
    claim(worker_id=worker())
    assert engine.rescue(dead, LOST, now=LATER) == 0


def test_of_several_rescuers_each_job_is_given_back_by_one(shared_engine, side_by_side):
    dead = shared_engine.register(hostname="host", pid=7, queues=[], threads=1, now=NOW).pk
    shared_engine.insert_alike(Job(name="noop"), ({} for _ in range(1_200)))
    shared_engine.claim(Claim(["default"], limit=1_200, worker_id=dead, now=NOW))

    rescued = side_by_side(lambda _: shared_engine.rescue(dead, LOST, now=LATER), threads=3)

    assert sum(rescued) == 1_200
    assert set(Job.objects.values_list("state", "attempts")) == {(State.NEW, 0)}


def test_a_claim_that_arrives_after_its_worker_was_buried_is_found(engine, worker, job_row, claim):
    living, dead = worker(), worker()
    for _ in range(3):
        job_row()
    claim(worker_id=living)
    claim(worker_id=None)
    engine.rescue(dead, LOST, now=NOW)
    assert engine.vanished_workers() == []

    claim(worker_id=dead)
    assert engine.vanished_workers() == [dead]


# ── Jobs without an owner ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", HELD)
def test_a_job_without_an_owner_is_an_orphan_until_a_person_requeues_it(engine, job_row, state):
    orphan = job_row(state=state)
    job_row(state=state, worker_id=5)
    job_row()
    job_row(state=State.COMPLETE)

    assert engine.orphans() == [orphan.pk]
    assert engine.requeue_orphans([orphan.pk], now=LATER) == 1
    assert row(orphan).state == State.READY
    assert engine.orphans() == []


def test_only_orphans_are_requeued(engine, job_row):
    jobs = [
        job_row(state=State.PROCESSING, worker_id=5),
        job_row(),
        job_row(state=State.COMPLETE),
        job_row(state=State.FAILED),
    ]
    before = [values(job) for job in jobs]

    assert engine.requeue_orphans(ids(jobs), now=LATER) == 0
    assert [values(job) for job in jobs] == before


@pytest.mark.skipif(
    "connection.vendor == 'mysql' and not connection.mysql_is_mariadb",
    reason="MySQL refuses such a number",
)
@pytest.mark.skipif(
    "not hasattr(sys, 'get_int_max_str_digits')", reason="such a Python reads any number"
)
def test_a_job_whose_workspace_python_cannot_read_is_rescued_too(engine, job_row):
    job = job_row(state=State.PROCESSING, worker_id=1)
    digits = "1" * 5_000  # more than Python reads by itself
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE django_dbq_job SET workspace = '{{\"a\": {digits}}}' WHERE name = %s",
            [job.name],
        )

    assert engine.rescue(1, LOST, now=NOW) == 1
