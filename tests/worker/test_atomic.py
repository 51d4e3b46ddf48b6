"""A job that is `atomic`: what its task wrote and what became of it are one transaction."""

from __future__ import annotations

import contextlib
import os
import socket
import sys  # noqa: F401 (in conditions of skipif)

import pytest
from django.contrib.auth.models import Permission
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    connections,
    transaction,
)

from django_dbq.engines import Claim, Engine
from django_dbq.exceptions import Cancel, JobInterrupted, JobTimeout, LeaseLost, Snooze
from django_dbq.models import Attempt, Job
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import Advanced, Completed, Failed, HandedBack, Retried
from django_dbq.rules.states import State
from django_dbq.worker.executor import perform
from tests.compat.waiting import in_another_connection
from tests.worker.conftest import nothing, now, raising, row

pytestmark = pytest.mark.django_db(transaction=True)


def write(label):
    """An effect of a task."""
    Job.objects.create(name="noop", queue_name=label)


def was_kept(label):
    return Job.objects.filter(queue_name=label).exists()


def then(*steps):
    """A task that writes an effect and then does these."""

    def task(job):
        write("effect")
        for step in steps:
            step(job)

    return task


@pytest.fixture
def settle(acknowledger):
    """One attempt at a claimed job, written down as a worker does; the row afterwards."""

    def settle(job):
        acknowledger.add(job, perform(job))
        acknowledger.flush()
        return row(job)

    return settle


@pytest.fixture
def once():
    """Replace a method, for one call of it."""
    with pytest.MonkeyPatch.context() as patch:

        def once(owner, name, replacement):
            unharmed = getattr(owner, name)

            def method(self, *args, **kwargs):
                patch.undo()
                return replacement(lambda: unharmed(self, *args, **kwargs))

            patch.setattr(owner, name, method)

        yield once


def raise_before(error):
    def replacement(method):
        raise error

    return replacement


def raise_after(error):
    def replacement(method):
        method()
        raise error

    return replacement


# ── Success ──────────────────────────────────────────────────────────────────────────────────────


def test_when_the_attempt_is_over_effect_and_outcome_are_both_there(declare, claimed, settle):
    declare(then(lambda job: job.workspace.update(a=1)), nothing, atomic=True)
    job = claimed()
    outcome = perform(job)

    assert isinstance(outcome, Advanced)
    assert outcome.is_written
    assert was_kept("effect")
    assert (row(job).state, row(job).task_index, row(job).workspace) == (State.READY, 1, {"a": 1})
    assert not connection.in_atomic_block


def test_the_outcome_of_an_atomic_task_is_not_written_again_by_the_worker(
    declare, claimed, acknowledger, engine
):
    declare(then(), atomic=True)
    job = claimed()
    outcome = perform(job)
    Job.objects.filter(pk=job.pk).update(state=State.READY)
    (theirs,) = engine.claim(Claim(["default"], limit=1, worker_id=2, now=now()))
    acknowledger.add(job, outcome)

    assert acknowledger.flush() == [job]
    assert acknowledger.lost_jobs == 0
    assert (row(theirs).state, row(theirs).worker_id) == (State.PROCESSING, 2)


def test_what_a_task_sees_is_its_own_transaction(declare, claimed):
    seen = []
    declare(lambda job: seen.append(connection.in_atomic_block), atomic=True)
    perform(claimed())
    declare(lambda job: seen.append(connection.in_atomic_block))
    perform(claimed())

    assert seen == [True, False]


def test_on_commit_runs_when_effect_and_outcome_are_there(declare, claimed):
    states = []
    declare(
        then(lambda job: transaction.on_commit(lambda: states.append(row(job).state))), atomic=True
    )
    perform(claimed())

    assert states == [State.COMPLETE]


def test_an_on_commit_that_raises_undoes_nothing_and_changes_no_outcome(
    declare, claimed, settle, caplog
):
    declare(
        then(lambda job: transaction.on_commit(lambda: raising(LookupError("late"))(job))),
        atomic=True,
    )

    assert settle(claimed()).state == State.COMPLETE
    assert was_kept("effect")
    assert "late" in caplog.text


def test_a_task_s_own_transactions_are_part_of_that_around_it(declare, claimed, settle):
    def task(job):
        with transaction.atomic():
            write("inner")
        with contextlib.suppress(LookupError), transaction.atomic():
            write("undone")
            raise LookupError

    declare(task, atomic=True)

    assert settle(claimed()).state == State.COMPLETE
    assert was_kept("inner")
    assert not was_kept("undone")


# ── Failure ──────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_raises_has_had_no_effect_and_its_failure_is_written(declare, claimed, settle):
    declare(then(raising(LookupError("no ink"))), atomic=True)
    job = settle(claimed())

    assert job.state == State.FAILED
    assert not was_kept("effect")
    assert Attempt.objects.get().message == "no ink"


def test_the_failure_hook_runs_after_the_rollback_and_its_effects_stay(declare, claimed, settle):
    def hook(job, error):
        assert not connection.in_atomic_block
        write("of the hook")
        job.workspace["told"] = str(error)
        job.save()

    declare(then(raising(LookupError("no ink"))), atomic=True, failure_hook=hook)
    job = settle(claimed())

    assert (job.state, job.workspace) == (State.FAILED, {"told": "no ink"})
    assert was_kept("of the hook")
    assert not was_kept("effect")


def test_a_failed_attempt_is_retried_and_only_the_last_one_has_effects(
    declare, claimed, settle, engine
):
    def task(job):
        write(f"by attempt {job.attempts}")
        if job.attempts < 3:
            raise LookupError

    declare(task, atomic=True, retry={"max_attempts": 3, "backoff": 0})
    job = settle(claimed())
    for _ in range(2):
        assert job.state == State.READY
        (job,) = engine.claim(Claim(["default"], limit=1, worker_id=1, now=now()))
        job = settle(job)

    assert job.state == State.COMPLETE
    assert [was_kept(f"by attempt {number}") for number in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Snooze(0), State.READY),
        (Cancel(), State.CANCELLED),
        (JobInterrupted(), State.READY),
        (JobTimeout(), State.FAILED),
        (SystemExit(3), State.FAILED),
    ],
    ids=repr,
)
def test_however_an_atomic_task_ends_early_it_has_had_no_effect(
    declare, claimed, settle, error, state
):
    declare(then(raising(error)), atomic=True)

    assert settle(claimed()).state == state
    assert not was_kept("effect")


def test_a_database_error_of_the_task_is_the_task_s_failure(declare, claimed, settle):
    declare(then(raising(OperationalError("of the task's own"))), atomic=True)

    assert settle(claimed()).state == State.FAILED


def break_the_transaction(job):
    with contextlib.suppress(DatabaseError):
        Job.objects.create(pk=job.pk, name="noop")  # that id is taken


def test_a_task_that_swallows_an_error_which_broke_its_transaction_has_failed(
    declare, claimed, settle
):
    def swallow(job):
        with contextlib.suppress(LookupError), transaction.atomic(savepoint=False):
            raise LookupError

    declare(then(swallow), atomic=True)

    assert settle(claimed()).state == State.FAILED
    assert not was_kept("effect")
    assert not connection.in_atomic_block


def test_a_task_that_leaves_what_is_not_json_has_had_no_effect(declare, claimed, settle):
    declare(then(lambda job: job.workspace.update(bad=object())), atomic=True)

    assert settle(claimed()).state == State.FAILED
    assert not was_kept("effect")


# ── Hooks within ─────────────────────────────────────────────────────────────────────────────────


def test_pre_and_post_hooks_are_part_of_the_transaction(declare, claimed, settle):
    declare(raising(LookupError()), pre_task_hook=lambda job: write("of the pre hook"), atomic=True)
    settle(claimed())
    assert not was_kept("of the pre hook")

    declare(nothing, post_task_hook=lambda job: write("of the post hook"), atomic=True)
    settle(claimed())
    assert was_kept("of the post hook")


@pytest.mark.parametrize(
    "hook",
    [
        raising(ZeroDivisionError()),
        lambda job: Job.objects.create(pk=job.pk, name="noop"),  # that id is taken
        break_the_transaction,
    ],
    ids=["any error", "a database error", "a database error that it swallows"],
)
def test_an_error_in_the_post_hook_undoes_the_hook_alone(declare, claimed, settle, hook):
    def post_hook(job):
        write("of the post hook")
        hook(job)

    declare(then(), post_task_hook=post_hook, atomic=True)

    assert settle(claimed()).state == State.COMPLETE
    assert was_kept("effect")


# ── Connections ──────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_closes_its_connection_has_failed_and_harms_no_later_one(
    declare, claimed, settle
):
    declare(then(lambda job: connection.close()), atomic=True)

    assert settle(claimed()).state == State.FAILED
    assert not was_kept("effect")
    write("later")
    assert was_kept("later")


def test_a_post_hook_that_closes_its_connection_leaves_no_half_of_it(declare, claimed, settle):
    declare(then(), post_task_hook=lambda job: connection.close(), atomic=True)
    job = settle(claimed())

    assert was_kept("effect") == (job.state == State.COMPLETE)
    write("later")
    assert was_kept("later")


# ── The outcome does not arrive ──────────────────────────────────────────────────────────────────


def test_who_has_lost_the_job_has_had_no_effect_and_gives_back_nothing(
    declare, claimed, engine, acknowledger
):
    declare(then(), atomic=True)
    job = claimed()
    engine.rescue(1, Death("host:1", "frozen", is_crash=False), now=now())
    (theirs,) = engine.claim(Claim(["default"], limit=1, worker_id=2, now=now()))
    outcome = perform(job)

    assert outcome == HandedBack(is_started=True)
    assert not was_kept("effect")
    acknowledger.add(job, outcome)
    acknowledger.flush()
    assert (row(theirs).state, row(theirs).worker_id) == (State.PROCESSING, 2)


@pytest.mark.parametrize("when", [raise_before, raise_after])
@pytest.mark.parametrize("error", [InterfaceError("closed"), LeaseLost("job")], ids=repr)
def test_an_outcome_that_cannot_be_written_takes_the_effect_along(
    declare, claimed, acknowledger, once, error, when
):
    declare(then(), atomic=True)
    job = claimed()
    once(Engine, "acknowledge", when(error))
    outcome = perform(job)

    assert outcome == HandedBack(is_started=True)
    assert not was_kept("effect")
    acknowledger.add(job, outcome)
    acknowledger.flush()
    assert (row(job).state, row(job).attempts) == (State.READY, 0)


def cut_off(driver_connection):
    """End the connection as a network does, and not as a polite server."""
    if connection.vendor == "postgresql":
        with socket.socket(fileno=os.dup(driver_connection.fileno())) as its_socket:
            its_socket.shutdown(socket.SHUT_RDWR)
        return
    another = connection.copy()
    try:
        with another.cursor() as cursor:
            cursor.execute(f"KILL {driver_connection.thread_id()}")
    finally:
        another.close()


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="its connection is a file")
@pytest.mark.parametrize("moment", ["acknowledge", "_commit"])
def test_a_connection_that_is_lost_with_the_outcome_is_no_fault_of_the_job(
    declare, claimed, settle, once, moment
):
    def cut_off_before(method):
        cut_off(connection.connection)
        return method()

    declare(then(), atomic=True)
    job = claimed()
    once(
        Engine if moment == "acknowledge" else type(connections["default"]), moment, cut_off_before
    )
    job = settle(job)

    assert (job.state, job.attempts) == (State.READY, 0)
    assert not Attempt.objects.exists()
    assert not was_kept("effect")


def test_an_outcome_that_the_database_refuses_is_a_failed_attempt(declare, claimed, once, settle):
    """It would be refused each time: the job must not go round for ever."""
    declare(then(), atomic=True)
    job = claimed()
    once(Engine, "acknowledge", raise_before(OperationalError("Incorrect string value")))

    assert settle(job).state == State.FAILED
    assert not was_kept("effect")


def test_a_commit_whose_answer_is_lost_is_not_undone_by_handing_the_job_back(
    declare, claimed, acknowledger, once
):
    """It has arrived: the outcome stands, and what was handed back is fenced out."""
    declare(then(), atomic=True)
    job = claimed()
    lost = raise_after(InterfaceError("connection already closed"))
    once(type(connections["default"]), "_commit", lost)
    outcome = perform(job)

    assert outcome == HandedBack(is_started=True)
    acknowledger.add(job, outcome)
    acknowledger.flush()
    assert row(job).state == State.COMPLETE
    assert was_kept("effect")


def test_a_commit_that_fails_is_a_failed_attempt_and_a_hook_s_save_is_fenced(declare, claimed):
    """MariaDB checks at the statement, others at the commit; the job is still held."""
    held = []

    def hook(job, error):
        held.append((type(error), job.is_held_here))
        job.save()
        held.append(row(job).state)

    def refer_to_nothing(job):
        Permission.objects.create(name="p", codename="p", content_type_id=1_000_000)

    declare(then(refer_to_nothing), atomic=True, failure_hook=hook)
    outcome = perform(claimed())

    assert isinstance(outcome, Failed)
    assert held == [(IntegrityError, True), State.PROCESSING]
    assert not was_kept("effect")


# ── Both ways the same ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (then(), Completed),
        (then(raising(LookupError())), Retried),
        (then(raising(SystemExit(1))), Retried),
    ],
)
def test_an_atomic_job_goes_as_any_other(declare, claimed, task, kind, atomic):
    ran = []
    declare(
        task,
        atomic=atomic,
        retry={},
        pre_task_hook=lambda job: ran.append("pre"),
        retry_hook=lambda job, error: ran.append("retry"),
        post_task_hook=lambda job: ran.append("post"),
    )

    assert type(perform(claimed())) is kind
    assert ran == (["pre", "post"] if kind is Completed else ["pre", "retry", "post"])


@pytest.mark.skipif(
    "connection.vendor != 'sqlite' or sys.version_info < (3, 11)",
    reason="only there a snapshot can be lost, and only from then on Python says so",
)
def test_a_task_that_can_never_be_committed_has_failed_and_does_not_go_back(
    declare, claimed, settle
):
    """It has read, and others have written since; with `transaction_mode` IMMEDIATE none could."""

    def task(job):
        Job.objects.exists()
        in_another_connection(lambda: write("beside"))

    declare(task, atomic=True)

    assert settle(claimed()).state == State.FAILED
    assert "database is locked" in Attempt.objects.get().message
