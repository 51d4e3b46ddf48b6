"""Acknowledge: outcomes are written by whoever holds the job, once, and by nobody else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from django_dbq.engines import Claim, engine_for
from django_dbq.models import Attempt, Job
from django_dbq.rules.outcomes import Advanced, Completed, Failed, Requeued
from django_dbq.rules.states import FINAL, HELD, WAITING, State
from tests.engines.conftest import DEATH, NOW, ids, row, story, values

LATER = NOW + timedelta(seconds=5)


def outcomes(job):
    """One outcome of each kind, for a job that was just claimed."""
    return {
        "completed": Completed(),
        "advanced": Advanced(next_task="app.second", task_index=1),
        "failed": Failed(story=story(job)),
        "requeued": Requeued(story=story(job)),
        # Those that change the workspace go by another statement.
        "completed, changed": Completed({"workspace": {"by": "us"}}),
        "requeued, changed": Requeued({"workspace": {"by": "us"}}, story=story(job)),
    }


KINDS = [
    "completed",
    "advanced",
    "failed",
    "requeued",
    "completed, changed",
    "requeued, changed",
]


@pytest.fixture
def held(job_row, claim):
    """A job that worker 1 has claimed."""

    def held(**columns):
        job_row(**columns)
        return claim()[0]

    return held


# ── What is written ──────────────────────────────────────────────────────────────────────────────


def test_a_completed_job_is_complete_and_has_no_next_task(engine, held):
    job = held()

    assert engine.acknowledge([(job, Completed())], now=LATER) == set()
    assert (row(job).state, row(job).next_task, row(job).task_index) == (State.COMPLETE, "", None)
    assert row(job).finished_at == row(job).modified == LATER


def test_an_advanced_job_waits_for_any_worker_to_run_its_next_task(engine, held, claim):
    job = held()
    engine.acknowledge([(job, outcomes(job)["advanced"])], now=LATER)

    assert (row(job).state, row(job).next_task, row(job).task_index) == ("READY", "app.second", 1)
    assert (row(job).worker_id, row(job).attempts, row(job).finished_at) == (None, 0, None)
    assert ids(claim(worker_id=2)) == [job.pk]


def test_a_failed_job_keeps_its_task_and_its_story(engine, held):
    job = held()
    engine.acknowledge([(job, Failed(story=story(job, "no ink")))], now=LATER, worker="host:1")

    assert (row(job).state, row(job).next_task) == (State.FAILED, job.next_task)
    assert row(job).finished_at == LATER
    (attempt,) = Attempt.objects.all()
    assert (attempt.job_id, attempt.job_name, attempt.task) == (job.pk, "noop", job.next_task)
    assert (attempt.number, attempt.exception) == (1, "builtins.ValueError")
    assert (attempt.message, attempt.worker, attempt.worker_id) == ("no ink", "host:1", 1)
    assert attempt.started_at == NOW - timedelta(minutes=1)
    assert attempt.finished_at == NOW


def test_a_requeued_job_waits_again_and_its_attempts_count_on(engine, held, claim):
    job = held()
    engine.acknowledge([(job, Requeued(story=story(job)))], now=LATER)
    assert row(job).state == State.READY
    assert Attempt.objects.count() == 1

    (again,) = claim()
    assert (again.pk, again.attempts) == (job.pk, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_task_changed_is_written_with_every_outcome(engine, held, kind):
    job = held()
    changes = {
        "workspace": {"nested": {"list": [1, 2.5, None, True, "ü\n\\'\""]}},
        "priority": -7,
        "queue_name": "another",
        "run_after": LATER,
        "name": "another name",
    }
    outcome = outcomes(job)[kind]
    fields = {name: value for name, value in vars(outcome).items() if name != "changes"}
    engine.acknowledge([(job, type(outcome)(changes, **fields))], now=LATER)

    for name, value in changes.items():
        assert getattr(row(job), name) == value, name


def test_a_workspace_of_none_is_written_as_none(engine, held):
    job = held()
    engine.acknowledge([(job, Completed({"workspace": None}))], now=LATER)

    assert row(job).workspace is None


def test_a_job_that_sets_its_run_after_waits_for_it(engine, held, claim):
    job = held()
    Job.objects.filter(pk=job.pk).update(is_due=True)  # it had been scheduled before
    outcome = Requeued({"run_after": LATER + timedelta(hours=1)}, story=story(job))
    engine.acknowledge([(job, outcome)], now=LATER)

    assert row(job).is_due is None  # no claim walks over it until then
    assert claim(now=LATER) == []
    assert ids(claim(now=LATER + timedelta(hours=2))) == [job.pk]


def test_outcomes_of_all_kinds_and_tokens_go_in_one_call(engine, job_row, claim):
    for number in range(12):
        job_row(token=number % 3, minutes_old=number)
    jobs = claim(12)
    finished = [(job, outcomes(job)[KINDS[number % 6]]) for number, job in enumerate(jobs)]

    assert engine.acknowledge(finished, now=LATER) == set()
    for job, outcome in finished:
        assert row(job).state == outcome.state
    assert Attempt.objects.count() == 6


def test_jobs_of_a_batch_keep_their_own_workspaces(engine, job_row, claim):
    for number in range(10):
        job_row(minutes_old=number)
    finished = [(job, Completed({"workspace": {"id": str(job.pk)}})) for job in claim(10)]
    engine.acknowledge(finished, now=LATER)

    for job, _ in finished:
        assert row(job).workspace == {"id": str(job.pk)}


def test_a_batch_is_as_large_as_it_likes(engine, claim):
    engine.insert_alike(Job(name="noop"), ({} for _ in range(1_200)))
    jobs = claim(1_200)
    assert engine.acknowledge([(job, Completed()) for job in jobs], now=LATER) == set()

    assert Job.objects.filter(state=State.COMPLETE).count() == 1_200


def test_jobs_of_equal_outcome_are_written_by_one_statement(
    engine, job_row, claim, django_assert_max_num_queries
):
    for _ in range(50):
        job_row()
    jobs = claim(50)

    with django_assert_max_num_queries(3):  # with the ends of a savepoint
        engine.acknowledge([(job, Completed()) for job in jobs], now=LATER)


def test_no_outcomes_are_no_work(engine):
    assert engine.acknowledge([], now=NOW) == set()


# ── The fence ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [0, 1, 2, 4, 5])
def test_an_outcome_with_another_token_than_the_row_s_changes_nothing(engine, held, kind, token):
    job = held(token=2)  # claimed: 3
    before = values(job)
    outcome = outcomes(job)[kind]
    job.token = token

    assert engine.acknowledge([(job, outcome)], now=LATER) == {job.pk}
    assert values(job) == before
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_whose_job_was_rescued_changes_nothing_and_learns_it(engine, held, kind):
    job = held()
    engine.rescue(1, DEATH, now=NOW)
    before = values(job)

    assert engine.acknowledge([(job, outcomes(job)[kind])], now=LATER) == {job.pk}
    assert values(job) == before
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_whose_job_another_one_runs_changes_nothing_and_learns_it(
    engine, held, claim, kind
):
    job = held()
    engine.rescue(1, DEATH, now=NOW)
    (theirs,) = claim(worker_id=2)
    before = values(job)

    assert engine.acknowledge([(job, outcomes(job)[kind])], now=LATER) == {job.pk}
    assert values(job) == before
    assert engine.acknowledge([(theirs, Completed())], now=LATER) == set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", [*WAITING, *FINAL])
def test_an_outcome_of_a_job_that_somebody_put_into_another_state_changes_nothing(
    engine, held, kind, state
):
    job = held()
    Job.objects.filter(pk=job.pk).update(state=state)
    before = values(job)
    engine.acknowledge([(job, outcomes(job)[kind])], now=LATER)

    assert values(job) == before


def test_an_outcome_of_a_deleted_job_is_reported_and_leaves_no_story(engine, held):
    job = held()
    Job.objects.filter(pk=job.pk).delete()

    assert engine.acknowledge([(job, Failed(story=story(job)))], now=LATER) == {job.pk}
    assert not Attempt.objects.exists()
    assert not Job.objects.exists()


@pytest.mark.parametrize("state", HELD)
def test_a_job_that_is_stopping_is_still_its_worker_s(engine, held, state):
    job = held()
    Job.objects.filter(pk=job.pk).update(state=state)

    assert engine.acknowledge([(job, Completed())], now=LATER) == set()
    assert row(job).state == State.COMPLETE


def test_a_lost_job_does_not_take_the_others_of_its_batch_along(engine, job_row, claim):
    for _ in range(3):
        job_row()
    first, lost, last = claim(3)
    Job.objects.filter(pk=lost.pk).update(token=9)
    finished = [(job, Failed(story=story(job))) for job in (first, lost, last)]

    assert engine.acknowledge(finished, now=LATER) == {lost.pk}
    assert row(first).state == row(last).state == State.FAILED
    assert row(lost).state == State.PROCESSING
    assert set(Attempt.objects.values_list("job_id", flat=True)) == {first.pk, last.pk}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_outcome_sent_twice_is_written_once_and_nobody_is_told_of_a_loss(
    engine, held, kind
):
    """The answer to a commit was lost with the connection, so it is sent again."""
    job = held()
    outcome = outcomes(job)[kind]
    engine.acknowledge([(job, outcome)], now=LATER)
    before, stories = values(job), list(Attempt.objects.values())

    assert engine.acknowledge([(job, outcome)], now=LATER) == set()
    assert values(job) == before
    assert list(Attempt.objects.values()) == stories


def test_a_batch_of_which_half_was_written_before_is_written_whole(engine, job_row, claim):
    for _ in range(6):
        job_row()
    finished = [(job, Failed(story=story(job))) for job in claim(6)]
    engine.acknowledge(finished[:3], now=LATER)

    assert engine.acknowledge(finished, now=LATER) == set()
    assert {row(job).state for job, _ in finished} == {State.FAILED}
    assert Attempt.objects.count() == 6


def test_outcomes_are_written_all_or_none(engine, job_row, claim):
    """A value that the database refuses: the caller sends the others without it."""
    if connection.vendor == "sqlite":
        pytest.skip("it stores texts of any length")
    job_row()
    job_row()
    good, bad = claim(2)
    finished = [(good, Completed()), (bad, Completed({"queue_name": "q" * 61}))]

    with pytest.raises(Exception, match=r"(?i)too long"), transaction.atomic():
        engine.acknowledge(finished, now=LATER)

    assert row(good).state == row(bad).state == State.PROCESSING


# ── While it is held ─────────────────────────────────────────────────────────────────────────────


def test_running_jobs_are_marked_as_stopping_by_their_worker_alone(engine, job_row, claim):
    for _ in range(3):
        job_row()
    mine, rescued, done = claim(3)
    Job.objects.filter(pk=rescued.pk).update(token=7)
    engine.acknowledge([(done, Completed())], now=NOW)
    engine.mark_stopping([mine, rescued, done], now=LATER)

    assert row(mine).state == State.STOPPING
    assert row(rescued).state == State.PROCESSING
    assert row(done).state == State.COMPLETE


def test_an_outcome_sent_again_does_not_pass_for_that_of_a_3_3_worker(engine, job_row, claim):
    """Which claims without touching the token, and writes no owner."""
    job_row()
    (job,) = claim()
    following = Advanced(next_task="tests.project.tasks.noop", task_index=0)
    assert engine.acknowledge([(job, following)], now=NOW) == set()
    Job.objects.filter(pk=job.pk).update(state=State.PROCESSING)

    assert engine.acknowledge([(job, following)], now=NOW) == {job.pk}
    assert Job.objects.get(pk=job.pk).state == State.PROCESSING


def test_many_workspaces_are_written_in_one_transaction_or_one_statement(shared_engine):
    engine = shared_engine
    engine.insert_alike(Job(name="noop"), ({} for _ in range(50)))
    now = engine.now()
    jobs = engine.claim(Claim(["default"], limit=50, worker_id=1, now=now))
    finished = [(job, Completed({"workspace": {"n": n}})) for n, job in enumerate(jobs)]

    with CaptureQueriesContext(connection) as captured:
        assert engine.acknowledge(finished, now=now) == set()

    sent = [query["sql"] for query in captured]
    in_a_transaction = sent[0].startswith(("BEGIN", "SET")) and sent[-1].startswith("COMMIT")
    assert in_a_transaction or len(sent) == 1


# ── Together with a claim ────────────────────────────────────────────────────────────────────────


def exchange(engine, finished, *, limit=2):
    return engine.exchange(finished, Claim(["default"], limit, worker_id=1, now=NOW))


def test_an_exchange_writes_what_is_done_and_claims_what_is_next(engine, claim, job_row):
    for minutes_old in (9, 8, 7, 6):
        job_row(minutes_old=minutes_old)
    first = claim(2)

    lost, second = exchange(engine, first)
    assert lost == set()
    assert {row(job).state for job in first} == {State.COMPLETE}
    assert len(second) == 2
    assert {row(job).state for job in second} == {State.PROCESSING}
    assert not set(ids(first)) & set(ids(second))
    assert not any(job.is_held_here for job in first)
    assert all(job.is_held_here for job in second)


def test_an_exchange_writes_jobs_of_different_tokens(engine, claim, job_row):
    for token in (0, 3, 3, 8):
        job_row(token=token)
    first = claim(3)

    lost, second = exchange(engine, first)
    assert lost == set()
    assert {row(job).state for job in first} == {State.COMPLETE}
    assert len(second) == 1


def test_an_exchange_tells_which_jobs_were_lost(engine, claim, job_row):
    job_row(minutes_old=9)
    other = job_row(minutes_old=1)
    (mine,) = claim(1)
    Job.objects.filter(pk=mine.pk).update(token=mine.token + 1)

    lost, next_ones = exchange(engine, [mine])
    assert lost == {mine.pk}
    assert row(mine).state == State.PROCESSING
    assert ids(next_ones) == [other.pk]


def test_an_exchange_that_fails_in_the_end_has_done_neither(shared_engine, job_row, monkeypatch):
    for minutes_old in (9, 8):
        job_row(minutes_old=minutes_old)
    (first,) = shared_engine.claim(Claim(["default"], limit=1, worker_id=1, now=NOW))
    monkeypatch.setattr(connection, "_commit", lambda: connection._rollback() or fail())

    with pytest.raises(OperationalError):
        exchange(shared_engine, [first])
    monkeypatch.undo()
    assert sorted(Job.objects.values_list("state", flat=True)) == ["NEW", "PROCESSING"]
    assert first.is_held_here, "its fence is down, and it was not written"


def fail():
    raise OperationalError("The commit did not arrive.")


@pytest.mark.skipif("connection.vendor == 'mysql'", reason="it has the ids in the statement")
def test_batches_of_any_size_succeed_by_the_same_statement(db, job_row):
    engine, statements = engine_for("default"), set()

    def note(execute, sql, params, many, context):
        statements.add(sql)
        return execute(sql, params, many, context)

    for size in (1, 2, 5):
        for _ in range(size):
            job_row()
        jobs = engine.claim(Claim(["default"], limit=size, worker_id=1, now=NOW))
        with connection.execute_wrapper(note):
            assert engine.acknowledge([(job, Completed()) for job in jobs], now=NOW) == set()

    assert len(statements) == 1
