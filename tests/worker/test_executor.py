"""One attempt at one task: whatever the task does, there is an outcome, and the worker lives."""

from __future__ import annotations

import contextlib
import logging
import sys
from datetime import datetime, timedelta, timezone

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, connection, connections, transaction

from django_dbq import queue
from django_dbq.engines import Claim
from django_dbq.exceptions import LeaseLost, Retry, Snooze, TransactionLeftOpen, WorkspaceNotJSON
from django_dbq.models import Attempt, Job
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import Advanced, Completed, Declined, Requeued
from django_dbq.rules.states import State
from django_dbq.worker import executor
from django_dbq.worker.connections import open_transactions
from tests.worker.conftest import now, row

pytestmark = pytest.mark.django_db

# Of a worker that nothing can be blamed on.
DEATH = Death("host:7", "it was made to end", is_crash=False)


def perform(job):
    """One attempt, in whatever transaction the test is."""
    return executor.perform(job, already_open=open_transactions())


def nothing(job):
    pass


def fail(job):
    raise LookupError("no such thing")


class Odd(BaseException):
    """No Exception."""


class Unprintable(Exception):
    def __str__(self):
        raise SystemExit("even my message")


@pytest.fixture
def run(claimed, engine):
    """Run one task of a fresh job and write its outcome down; the job's row afterwards."""

    def run(workspace=None, **fields):
        job = claimed(workspace, **fields)
        engine.acknowledge([(job, perform(job))], now=now())
        return row(job)

    return run


# ── The order of things ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def steps(declare):
    """What was called, in order; each function does what it was given to do."""
    called = []

    def step(name, action=lambda job: None):
        def function(job, *args):
            called.append((name, *args))
            action(job)

        return function

    def declare_steps(task=nothing, **hooks):
        actions = {"pre_task_hook": nothing, "post_task_hook": nothing, "failure_hook": nothing}
        actions.update(hooks)
        declare(step("task", task), **{key: step(key, action) for key, action in actions.items()})
        return called

    return declare_steps


def names(called):
    return [name for name, *_ in called]


def test_hooks_run_before_and_after_a_task(steps, claimed):
    called = steps()
    outcome = perform(claimed())

    assert names(called) == ["pre_task_hook", "task", "post_task_hook"]
    assert outcome == Completed()


def test_after_a_task_that_raised_the_failure_hook_runs_before_the_post_hook(steps, claimed):
    called = steps(task=fail)
    outcome = perform(claimed())

    assert names(called) == ["pre_task_hook", "task", "failure_hook", "post_task_hook"]
    assert str(called[2][1]) == "'no such thing'" or "no such thing" in str(called[2][1])
    assert outcome.transition == "fail"


def test_a_pre_hook_that_raises_keeps_its_task_from_running(steps, claimed):
    called = steps(pre_task_hook=fail)
    outcome = perform(claimed())

    assert names(called) == ["pre_task_hook", "failure_hook", "post_task_hook"]
    assert outcome.story.exception == "builtins.LookupError"


@pytest.mark.parametrize("hook", ["failure_hook", "post_task_hook"])
@pytest.mark.parametrize("error", [LookupError("x"), SystemExit(3), Odd("x")], ids=repr)
def test_a_hook_after_the_task_that_raises_changes_no_outcome(steps, claimed, caplog, hook, error):
    def raise_it(job):
        raise error

    steps(task=fail, **{hook: raise_it})
    outcome = perform(claimed())

    assert outcome.story.exception == "builtins.LookupError"
    assert "no such thing" in outcome.story.message
    assert any(record.exc_info and record.exc_info[1] is error for record in caplog.records)


# ── What a task may do ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), SystemExit(3), SystemExit(), KeyboardInterrupt(), GeneratorExit(), Odd("x")],
    ids=repr,
)
def test_whatever_a_task_raises_is_its_outcome(declare, run, error):
    def raise_it(job):
        raise error

    declare(raise_it)

    assert run().state == State.FAILED
    assert Attempt.objects.get().exception.endswith(type(error).__qualname__)


def test_a_task_that_calls_sys_exit_is_failed(declare, run):
    declare(lambda job: sys.exit(0))

    assert run().state == State.FAILED


def test_an_error_that_cannot_be_shown_is_an_outcome_too(declare, run):
    def raise_it(job):
        raise Unprintable

    declare(raise_it)

    assert run().state == State.FAILED
    assert "cannot be shown" in Attempt.objects.get().message


@pytest.mark.parametrize("text", ["a\0b", "lone \ud800 surrogate", "☃ 𝄞", "%s %d {}"], ids=ascii)
def test_an_error_with_any_text_is_stored(declare, run, text):
    def raise_it(job):
        raise ValueError(text)

    declare(raise_it)

    assert run().state == State.FAILED
    assert Attempt.objects.get().message


def test_a_task_that_is_not_there_is_failed_with_the_reason(settings, run):
    settings.JOBS = {"job": ["tests.worker.functions.gone"]}

    assert run().state == State.FAILED
    assert "tests.worker.functions.gone" in Attempt.objects.get().message


def test_a_job_that_this_code_does_not_know_is_left_to_another_worker(
    declare, settings, claimed, caplog
):
    declare(nothing)
    job = claimed()
    settings.JOBS = {}

    assert perform(job) == Declined()
    assert "declares no job named 'job'" in caplog.text


@pytest.mark.parametrize("jobs", [None, [], {"job": {"tasks": []}}, {"job": {"taks": ["a.b"]}}])
def test_a_job_whose_declaration_is_broken_is_failed_with_the_reason(
    declare, settings, claimed, jobs
):
    declare(nothing)
    job = claimed()
    settings.JOBS = jobs
    outcome = perform(job)

    assert outcome.transition == "fail"
    assert "settings.JOBS" in outcome.story.message


def test_a_task_that_the_list_does_not_have_is_left_to_another_worker_and_not_imported(
    declare, claimed, tmp_path, monkeypatch
):
    (tmp_path / "dropped_by_a_row.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    declare(nothing)
    job = claimed()
    job.next_task = "dropped_by_a_row.task"

    assert perform(job) == Declined(task="dropped_by_a_row.task")
    assert "dropped_by_a_row" not in sys.modules


def test_a_workspace_that_is_no_dict_is_the_task_s_business(declare, claimed, engine):
    seen = []
    declare(lambda job: seen.append(job.workspace))
    job = claimed()
    Job.objects.filter(pk=job.pk).update(workspace=[1, 2], state=State.READY)
    (job,) = engine.claim(Claim(["default"], limit=1, worker_id=1, now=now()))

    assert perform(job) == Completed()
    assert seen == [[1, 2]]


def test_a_number_too_large_for_python_in_a_workspace_ends_no_worker(declare, claimed):
    """Written by SQL, 1e400: databases take it, Python reads it as infinity, which is no JSON."""
    declare(nothing)
    job = claimed()
    job.workspace = {"a": float("inf")}

    assert perform(job).transition == "fail"


# ── What is kept of a task ───────────────────────────────────────────────────────────────────────


def test_what_a_task_changed_in_the_workspace_is_kept(declare, run):
    def change(job):
        job.workspace["list"].append(2)
        del job.workspace["gone"]

    declare(change)

    assert run({"list": [1], "gone": 1}).workspace == {"list": [1, 2]}


def test_a_task_that_changed_nothing_costs_no_write_of_the_workspace(declare, claimed):
    declare(nothing)

    assert dict(perform(claimed({"large": "x" * 1_000})).changes) == {}


@pytest.mark.parametrize("task", [nothing, fail])
def test_what_a_task_sets_on_its_job_is_kept_also_when_it_fails(declare, run, task):
    run_after = now() + timedelta(hours=1)

    def change(job):
        job.priority, job.queue_name, job.run_after = 7, "elsewhere", run_after
        job.workspace = {"replaced": True}
        task(job)

    declare(change, nothing)
    job = run({"a": 1})

    assert (job.priority, job.queue_name, job.run_after) == (7, "elsewhere", run_after)
    assert job.workspace == {"replaced": True}


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), float("nan"), float("inf"), b"bytes", now()], ids=lambda v: type(v)
)
def test_a_task_that_leaves_what_is_not_json_fails_and_the_last_good_workspace_stays(
    declare, run, value
):
    declare(lambda job: job.workspace.update(bad=value))
    job = run({"good": 1})

    assert job.state == State.FAILED
    assert job.workspace == {"good": 1}
    assert Attempt.objects.get().exception.endswith(WorkspaceNotJSON.__name__)


def test_a_workspace_that_contains_itself_fails_its_task(declare, run):
    declare(lambda job: job.workspace.update(itself=job.workspace))

    assert run({"good": 1}).state == State.FAILED


def test_a_post_hook_that_leaves_what_is_not_json_costs_the_hook_s_changes_alone(declare, run):
    declare(nothing, post_task_hook=lambda job: job.workspace.update(bad=object()))
    job = run({"good": 1})

    assert (job.state, job.workspace) == (State.COMPLETE, {"good": 1})


# ── The job's next state ─────────────────────────────────────────────────────────────────────────


def test_a_job_with_tasks_left_is_advanced(declare, claimed):
    declare(nothing, fail)
    outcome = perform(claimed())

    assert isinstance(outcome, Advanced)
    assert outcome.task_index == 1


def test_a_failure_hook_that_sets_the_job_to_ready_has_it_tried_again(declare, run, engine):
    def again(job, error):
        job.workspace["tries"] = job.workspace.get("tries", 0) + 1
        job.state = State.READY

    declare(fail, failure_hook=again)
    job = run()
    assert (job.state, job.workspace) == (State.READY, {"tries": 1})
    assert Attempt.objects.count() == 1

    (job,) = engine.claim(Claim(["default"], limit=1, worker_id=1, now=now()))
    assert isinstance(perform(job), Requeued)
    assert job.attempts == 2


@pytest.mark.parametrize("state", [State.PROCESSING, State.STOPPING, State.CANCELLED, "nonsense"])
def test_a_task_that_succeeded_is_not_failed_for_a_state_that_a_hook_set(declare, run, state):
    def set_state(job):
        job.state = state

    declare(set_state)

    assert run().state == State.COMPLETE


# ── Connections and transactions ─────────────────────────────────────────────────────────────────


@pytest.fixture
def write_in(transactional_db):
    """Insert a row that tells whether the work of a task was kept."""

    def write_in(label):
        Job.objects.create(name="noop", queue_name=label)

    write_in.was_kept = lambda label: Job.objects.filter(queue_name=label).exists()
    return write_in


def test_a_task_that_closes_its_connection_is_complete(declare, run, transactional_db):
    declare(lambda job: connection.close())

    assert run().state == State.COMPLETE


def test_a_task_that_closes_the_connection_under_django_is_complete(declare, run, transactional_db):
    def close(job):
        connection.ensure_connection()
        connection.close()
        connections.close_all()

    declare(close)

    assert run().state == State.COMPLETE


def leave_open_by_hand(job):
    transaction.set_autocommit(False)


def leave_open_by_atomic(job):
    transaction.atomic().__enter__()


def leave_open_and_close(job):
    transaction.atomic().__enter__()
    connection.close()


@pytest.mark.parametrize("leave_open", [leave_open_by_hand, leave_open_by_atomic])
def test_a_transaction_that_is_left_open_is_rolled_back_and_the_task_fails(
    declare, run, write_in, leave_open
):
    def task(job):
        leave_open(job)
        write_in("in it")

    declare(task)

    assert run().state == State.FAILED
    assert Attempt.objects.get().exception.endswith(TransactionLeftOpen.__name__)
    assert not write_in.was_kept("in it")
    assert connection.get_autocommit()
    assert not connection.in_atomic_block


@pytest.mark.parametrize("leave_open", [leave_open_by_hand, leave_open_by_atomic])
def test_of_a_task_that_raises_with_a_transaction_open_its_own_error_is_told(
    declare, run, write_in, leave_open
):
    def task(job):
        leave_open(job)
        write_in("in it")
        fail(job)

    declare(task)

    assert run().state == State.FAILED
    assert Attempt.objects.get().exception == "builtins.LookupError"
    assert not write_in.was_kept("in it")


def test_a_hook_that_leaves_a_transaction_open_is_rolled_back_and_logged(declare, run, write_in):
    def hook(job):
        leave_open_by_atomic(job)
        write_in("in it")

    declare(nothing, post_task_hook=hook)

    assert run().state == State.COMPLETE
    assert not write_in.was_kept("in it")
    assert not connection.in_atomic_block


def test_a_transaction_that_a_task_broke_and_swallowed_ends_with_the_task(declare, run, write_in):
    def task(job):
        with transaction.atomic():
            write_in("in it")
            with contextlib.suppress(DatabaseError):
                Job.objects.create(pk=job.pk, name="noop")  # that id is taken

    declare(task)

    assert run().state in (State.FAILED, State.COMPLETE)
    assert connection.get_autocommit()
    write_in("later")
    connection.close()
    assert write_in.was_kept("later")


def test_a_task_that_closes_its_connection_inside_a_transaction_harms_no_later_one(
    declare, run, write_in
):
    declare(leave_open_and_close)

    assert run().state == State.FAILED
    write_in("later")
    assert write_in.was_kept("later")


@pytest.mark.skipif("connection.vendor == 'mysql'", reason="its drivers cannot tell")
def test_a_raw_transaction_that_a_task_left_behind_harms_no_later_statement(
    declare, run, transactional_db
):
    def task(job):
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")

    declare(task)

    assert run().state == State.FAILED
    Job.objects.create(name="noop", queue_name="later")
    connection.close()
    assert Job.objects.filter(queue_name="later").exists()


def test_on_commit_functions_of_a_rolled_back_task_do_not_run(declare, run, write_in):
    called = []

    def task(job):
        leave_open_by_atomic(job)
        transaction.on_commit(lambda: called.append(1))

    declare(task)
    run()
    with transaction.atomic():
        pass

    assert called == []


# ── A task and its own row ───────────────────────────────────────────────────────────────────────


def test_a_task_that_deletes_its_own_job_harms_nobody(declare, claimed, engine):
    declare(lambda job: job.delete())
    job = claimed()
    pk = job.pk
    outcome = perform(job)

    assert engine.acknowledge([(job, outcome)], now=now()) == {pk}
    assert not Job.objects.filter(pk=pk).exists()


def test_a_task_may_save_its_job(declare, run):
    def save(job):
        job.workspace["saved"] = True
        job.save()
        assert row(job).workspace == {"saved": True}
        job.workspace["more"] = True

    declare(save)
    job = run()

    assert job.workspace == {"saved": True, "more": True}
    assert job.state == State.COMPLETE


def test_a_task_that_saves_a_job_that_it_has_lost_changes_nothing_and_learns_it(
    declare, claimed, engine, transactional_db
):
    def lose_and_save(job):
        engine.rescue(1, DEATH, now=now())
        (theirs,) = engine.claim(Claim(["default"], limit=1, worker_id=2, now=now()))
        theirs.workspace = {"by": "the new owner"}
        theirs.save()
        job.workspace = {"by": "the old one"}
        job.save()

    declare(lose_and_save)
    job = claimed()
    outcome = perform(job)

    assert outcome.story.exception.endswith(LeaseLost.__name__)
    assert engine.acknowledge([(job, outcome)], now=now()) == {job.pk}
    assert row(job).workspace == {"by": "the new owner"}
    assert (row(job).state, row(job).worker_id) == (State.PROCESSING, 2)


def test_saving_an_instance_that_was_read_before_the_claim_takes_no_fence_down(
    declare, claimed, engine
):
    declare(nothing)
    old = Job.objects.create(name="job")
    (job,) = engine.claim(Claim(["default"], limit=1, worker_id=1, now=now()))
    held = row(job)
    old.workspace = {"a": 1}
    old.priority = 3
    old.save()

    now_there = row(job)
    for name in ("token", "attempts", "crashes", "worker_id", "started_at", "finished_at"):
        assert getattr(now_there, name) == getattr(held, name), name
    assert now_there.priority == 3


def test_each_attempt_is_logged_with_name_id_queue_duration_and_outcome(declare, claimed, caplog):
    caplog.set_level(logging.INFO, "django_dbq.worker")
    declare(nothing)
    job = claimed(queue_name="mail")
    perform(job)

    (line,) = [record.getMessage() for record in caplog.records]
    for word in ('"job"', str(job.pk), '"mail"', "duration=", "COMPLETE"):
        assert word in line


# ── What reviewers found ─────────────────────────────────────────────────────────────────────────


def test_a_task_that_enqueues_an_undeclared_job_keeps_its_hooks(declare, run):
    def task(job):
        Job.objects.create(name="no such job")

    def note(word):
        return lambda job, *error: job.workspace.setdefault("ran", []).append(word)

    declare(task, failure_hook=note("failure"), post_task_hook=note("post"))
    job = run()

    assert job.state == State.FAILED
    assert job.workspace["ran"] == ["failure", "post"]


def test_a_save_in_the_last_post_hook_leaves_the_place_for_the_outcome_to_write(claimed, declare):
    """Were next_task emptied and the worker to die now, all tasks would run again."""
    seen = []

    def save(job):
        job.save()
        seen.append((row(job).next_task, job.next_task))

    declare(nothing, post_task_hook=save)
    job = claimed()
    task = job.next_task
    perform(job)

    assert seen == [(task, "")]


def test_a_broken_log_costs_no_job_its_outcome(declare, run, caplog):
    class Broken(logging.Filter):
        def filter(self, record):
            raise RuntimeError("a filter of the project's")

    log, broken = logging.getLogger("django_dbq.worker"), Broken()
    declare(nothing)
    log.addFilter(broken)
    try:
        with caplog.at_level(logging.INFO, "django_dbq.worker"):
            assert run().state == State.COMPLETE
    finally:
        log.removeFilter(broken)


def test_an_error_whose_traceback_cannot_be_formatted_is_a_failure_like_any_other(declare, run):
    def task(job):
        raise SyntaxError("odd", ("file", 1, 1, 5))

    declare(task)

    assert run().state == State.FAILED


def test_an_async_task_that_is_driven_by_hand_asks_the_database_in_the_callers_transaction(
    declare, run
):
    async def task(job):
        job.workspace["jobs"] = await Job.objects.acount()
        return "done"

    declare(task)
    job = run({})

    assert (job.state, job.result) == (State.COMPLETE, "done")
    assert job.workspace == {"jobs": 1}


def test_a_plain_function_that_returns_a_coroutine_is_awaited(declare, run):
    async def ask():
        return 42

    declare(lambda job: ask())

    assert run().result == 42


@pytest.mark.parametrize("key", ["pre_task_hook", "post_task_hook", "failure_hook"])
def test_an_async_hook_is_refused_rather_than_never_awaited(declare, run, key, caplog):
    async def hook(job, *error):
        pass

    declare(fail if key == "failure_hook" else nothing, **{key: hook})
    run()

    assert "only a task can be one" in caplog.text


def test_an_async_task_that_is_declared_atomic_fails_and_says_why(declare, run):
    async def task(job):
        pass

    declare(task, atomic=True)
    job = run()

    assert job.state == State.FAILED
    assert "no async transactions" in Attempt.objects.get(job_id=job.pk).message


def test_a_task_that_refreshes_a_lost_job_does_not_take_over_the_fence(claimed, declare, engine):
    def lose_and_refresh(job):
        engine.rescue(1, DEATH, now=now())
        engine.claim(Claim(["default"], limit=1, worker_id=2, now=now()))
        job.refresh_from_db()

    declare(lose_and_refresh)
    job = claimed()
    outcome = perform(job)

    assert engine.acknowledge([(job, outcome)], now=now()) == {job.pk}
    assert (row(job).state, row(job).worker_id) == (State.PROCESSING, 2)


def test_a_workspace_too_deep_for_others_to_read_fails_the_task_that_made_it(declare, run):
    def task(job):
        deep = []
        for _ in range(500):
            deep = [deep]
        job.workspace["deep"] = deep

    declare(task)

    assert run({"kept": 1}).state == State.FAILED


# ── What no database could store ─────────────────────────────────────────────────────────────────

UNSTORABLE = {
    "name": "n" * 256,
    "queue_name": "q" * 61,
    "priority": 2**40,
    "run_after": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
}


def set_to(name, *, then=None):
    def function(job, *args):
        setattr(job, name, UNSTORABLE[name])
        if then is not None:
            raise then

    return function


@pytest.mark.parametrize("name", ["queue_name", "priority", "run_after"])
def test_a_task_that_sets_what_cannot_be_stored_fails_and_is_tried_again(declare, run, name):
    declare(set_to(name), retry={"backoff": 60})

    job = run({"good": 1})

    assert (job.state, job.workspace) == (State.READY, {"good": 1})
    assert (job.queue_name, job.priority) == ("default", 0)
    assert job.run_after.year < 9998  # that of the next attempt
    assert name in Attempt.objects.get().message


@pytest.mark.parametrize("name", UNSTORABLE)
@pytest.mark.parametrize("state", [State.COMPLETE, State.FAILED])
def test_what_cannot_be_stored_is_left_out_of_any_other_outcome(declare, run, name, state):
    """A hook, or a task that fails anyway, has set it."""
    if state == State.COMPLETE:
        declare(nothing, post_task_hook=set_to(name))
    else:
        declare(set_to(name, then=LookupError("no such thing")))

    job = run({"good": 1})

    assert (job.state, job.workspace, job.name) == (state, {"good": 1}, "job")
    assert (job.queue_name, job.priority, job.run_after) == ("default", 0, None)
    assert [story.message for story in Attempt.objects.all()] == (
        [] if state == State.COMPLETE else ["no such thing"]
    )


@pytest.mark.parametrize(
    "raise_it",
    [
        lambda job: (_ for _ in ()).throw(Retry(after=timedelta.max)),
        lambda job: (_ for _ in ()).throw(Snooze(timedelta.max)),
        lambda job: (_ for _ in ()).throw(Snooze(until=UNSTORABLE["run_after"])),
    ],
    ids=["retry", "snooze", "snooze until"],
)
def test_a_wait_beyond_all_years_fails_the_task_where_it_is_asked_for(declare, run, raise_it):
    declare(raise_it)

    assert run().state == State.FAILED
    assert Attempt.objects.get().exception == "builtins.ValueError"


REFUSED_TEXTS = pytest.mark.parametrize("text", ["a\0b", "lone \ud800"], ids=ascii)


@REFUSED_TEXTS
def test_a_result_that_some_database_refuses_is_dropped_and_the_job_complete(
    declare, claimed, engine, text
):
    declare(lambda job: {"said": [text]})
    job = claimed({"good": 1})
    outcome = perform(job)

    assert outcome.changes == {}
    engine.acknowledge([(job, outcome)], now=now())
    assert row(job).state == State.COMPLETE


@REFUSED_TEXTS
def test_a_task_that_leaves_what_some_database_refuses_fails_and_is_tried_again(declare, run, text):
    declare(lambda job: job.workspace.update(said=text), retry=3)

    job = run({"good": 1})

    assert (job.state, job.workspace) == (State.READY, {"good": 1})
    assert Attempt.objects.get().exception.endswith(WorkspaceNotJSON.__name__)


@REFUSED_TEXTS
def test_a_post_hook_that_leaves_what_some_database_refuses_costs_its_changes_alone(
    declare, run, text
):
    declare(nothing, post_task_hook=lambda job: job.workspace.update(said=text))

    job = run({"good": 1})

    assert (job.state, job.workspace) == (State.COMPLETE, {"good": 1})


# ── asave(), which passes all arguments that it has ──────────────────────────────────────────────


def test_asave_in_a_task_takes_no_cancel_back(declare, claimed):
    declare(nothing)
    job = claimed()
    queue.cancel(job.pk, "enough")
    job.workspace["step"] = 1
    async_to_sync(job.asave)()

    assert row(job).workspace == {"step": 1}
    assert (row(job).cancel_requested_at is None, row(job).cancel_reason) == (False, "enough")


@pytest.mark.django_db(transaction=True)
def test_asave_in_a_task_is_a_checkpoint(declare, claimed):
    async def task(job):
        job.workspace["saved"] = True
        await job.asave()
        job.workspace["lost"] = True
        raise ValueError("after the checkpoint")

    def mark(job, error):
        job.workspace["retried"] = True

    declare(task, retry=2, retry_hook=mark)
    job = claimed()
    outcome = perform(job)

    assert outcome.changes["workspace"] == {"saved": True, "retried": True}


def test_asave_outside_of_a_worker_leaves_the_fence_alone(declare, claimed):
    declare(nothing)
    stale = Job.objects.create(name="job")
    held = claimed(priority=1)
    Job.objects.filter(pk=stale.pk).update(token=7, state=State.PROCESSING, worker_id=1)
    async_to_sync(stale.asave)()

    assert (row(stale).token, row(stale).worker_id) == (7, 1)
    assert row(held).token == 1
