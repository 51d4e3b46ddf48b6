"""`run_jobs`: what a worker does, in the test's own thread and transaction."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.db.transaction import TransactionManagementError
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils import timezone

from django_dbq import queue
from django_dbq.exceptions import InvalidDeclaration, TooManyJobs, WorkspaceNotJSON
from django_dbq.models import Attempt, Job
from django_dbq.rules.storable import WHY_UNSTORABLE
from django_dbq.testing import run_jobs
from tests.doors import chores


@pytest.fixture(autouse=True)
def declared(settings):
    chores.calls.clear()
    settings.JOBS = chores.JOBS


def ids(jobs):
    return [job.pk for job in jobs]


def enqueue(name, **values):
    return Job.objects.create(name=name, **values)


# What is run


@pytest.mark.django_db
def test_every_due_job_of_every_queue_is_run_best_first():
    for number, values in enumerate(
        [{}, {"priority": 1}, {"queue_name": "mail", "priority": 2}, {"queue_name": "mail"}]
    ):
        enqueue("note", workspace={"n": number}, **values)

    run = run_jobs()

    assert chores.calls == [2, 1, 0, 3]
    assert [job.workspace["n"] for job in run] == chores.calls
    assert {job.state for job in run} == {"COMPLETE"}


@pytest.mark.django_db
def test_named_queues_are_emptied_one_after_the_other_and_the_rest_is_left_alone():
    for number, name in enumerate(["default", "mail", "reports"]):
        enqueue("note", workspace={"n": number}, queue_name=name, priority=number)

    run_jobs(queues=["default", "mail"])

    assert chores.calls == [0, 1]
    assert Job.objects.get(queue_name="reports").state == "NEW"


@pytest.mark.django_db
def test_one_queue_can_be_named_by_its_name_alone():
    mail, other = enqueue("note", queue_name="mail"), enqueue("note")

    assert ids(run_jobs(queues="mail")) == [mail.pk]
    assert ids(run_jobs()) == [other.pk]


@pytest.mark.django_db
def test_all_tasks_of_a_job_are_run_and_it_is_returned_once():
    job = enqueue("in_three_steps", workspace={"n": 1})

    run = run_jobs()

    assert chores.calls == [1, 1, 1]
    assert (ids(run), run[0].state) == ([job.pk], "COMPLETE")


@pytest.mark.django_db
def test_jobs_that_a_task_enqueues_are_run_too():
    enqueue("parent", workspace={"n": "parent"})

    run = run_jobs()

    assert sorted(chores.calls) == ["child", "parent"]
    assert [job.name for job in run] == ["parent", "note"]


@pytest.mark.django_db
def test_hooks_run_around_the_task():
    enqueue("hooked", workspace={"n": 7})

    run_jobs()

    assert chores.calls == ["hook of hooked", 7, "hook of hooked"]


@pytest.mark.django_db
def test_a_job_that_is_not_due_stays():
    enqueue("note", run_after=timezone.now() + timedelta(minutes=1))

    assert run_jobs() == []
    assert Job.objects.get().state == "NEW"


@pytest.mark.django_db
def test_without_jobs_nothing_is_run():
    run = run_jobs()

    assert (run, run.complete, run.failed, run.cancelled, run.waiting) == ([], [], [], [], [])


@pytest.mark.django_db
def test_a_job_whose_name_is_not_declared_is_left_as_a_worker_leaves_it(settings):
    job = enqueue("note")
    settings.JOBS = {"other": ["tests.doors.chores.note"]}

    assert run_jobs() == []
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("NEW", 0)


@pytest.mark.django_db
def test_a_task_that_deletes_its_job_is_among_those_that_were_run():
    enqueue("delete_itself")

    assert len(run_jobs()) == 1
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_tasks_run_in_the_thread_and_on_the_connection_of_the_test(monkeypatch):
    seen = []
    monkeypatch.setattr(
        chores, "note", lambda job: seen.append((threading.get_ident(), connection.connection))
    )
    enqueue("note")

    run_jobs()

    assert seen == [(threading.get_ident(), connection.connection)]


@pytest.mark.django_db
def test_no_worker_is_left_behind():
    from django_dbq.models import WorkerProcess

    enqueue("note")
    (job,) = run_jobs()

    assert job.worker_id is None
    assert not WorkerProcess.objects.exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_jobs_of_another_database_are_run_when_it_is_named():
    job = queue.enqueue("note", using="other")
    enqueue("note")

    assert ids(run_jobs(using="other")) == [job.pk]


# Endless loops


@pytest.mark.django_db
def test_a_loop_without_an_end_is_ended_and_its_job_named():
    enqueue("endless")

    with pytest.raises(TooManyJobs, match=r"5 tasks .* job 'endless' is next"):
        run_jobs(max_jobs=5)

    assert len(chores.calls) == 5
    assert Job.objects.filter(state="NEW").count() == 1


@pytest.mark.django_db
def test_exactly_as_many_tasks_as_allowed_are_no_loop():
    enqueue("in_three_steps")

    assert len(run_jobs(max_jobs=3).complete) == 1


# Failures


@pytest.mark.django_db
def test_a_task_that_fails_does_not_raise_and_its_job_is_among_the_failed():
    job, other = enqueue("fail"), enqueue("note")

    run = run_jobs()

    assert (ids(run.failed), ids(run.complete)) == ([job.pk], [other.pk])
    assert Attempt.objects.get().message == "no luck today"


@pytest.mark.django_db
def test_with_raise_errors_the_tasks_own_exception_is_raised_with_its_cause():
    job = enqueue("fail_in_the_causing_way")

    with pytest.raises(ValueError, match="the effect") as caught:
        run_jobs(raise_errors=True)

    assert repr(caught.value.__cause__) == "KeyError('the cause')"
    assert caught.traceback[-1].name == "fail_in_the_causing_way"
    job.refresh_from_db()
    assert job.state == "FAILED"


@pytest.mark.django_db
def test_with_raise_errors_the_first_error_is_raised_and_what_comes_after_it_waits():
    enqueue("fail", priority=1)
    after = enqueue("note")

    with pytest.raises(ValueError, match="no luck"):
        run_jobs(raise_errors=True)

    after.refresh_from_db()
    assert after.state == "NEW"


@pytest.mark.django_db
def test_with_raise_errors_an_error_that_a_retry_would_follow_is_raised_too():
    enqueue("third_time_lucky")

    with pytest.raises(OSError, match="try 1"):
        run_jobs(raise_errors=True)

    assert Job.objects.get().state == "READY"


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["asks_for_another_try", "snooze_once", "call_off"])
def test_with_raise_errors_what_a_task_raises_to_steer_its_job_is_no_error(name):
    enqueue(name)

    run_jobs(raise_errors=True)

    assert Job.objects.get().state in ("READY", "CANCELLED")


@pytest.mark.django_db
def test_with_raise_errors_what_is_found_after_the_task_is_raised_as_well():
    enqueue("put_a_lock_in")

    with pytest.raises(WorkspaceNotJSON):
        run_jobs(raise_errors=True)


@pytest.mark.django_db
def test_with_raise_errors_a_declaration_that_makes_no_sense_is_raised_as_well(settings):
    enqueue("note")
    settings.JOBS = {"note": {"tasks": ["tests.doors.chores.note"], "retry": {"max_attempts": 0}}}

    with pytest.raises(InvalidDeclaration, match="retry"):
        run_jobs(raise_errors=True)


@pytest.mark.django_db
def test_an_interrupted_test_run_ends_whatever_a_worker_would_do():
    enqueue("interrupt")

    with pytest.raises(KeyboardInterrupt):
        run_jobs()


@pytest.mark.django_db
def test_jobs_that_go_on_later_are_among_the_waiting_and_those_called_off_among_the_cancelled():
    waiting, cancelled = enqueue("third_time_lucky"), enqueue("call_off")

    run = run_jobs()

    assert (ids(run.waiting), ids(run.cancelled)) == ([waiting.pk], [cancelled.pk])


# Waiting


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["third_time_lucky", "third_time_lucky_at_random"])
def test_until_goes_from_one_attempt_to_the_next_without_sleeping(name):
    enqueue(name)

    run = run_jobs(until=timedelta(seconds=610))

    assert chores.calls == [1, 2, 3]
    assert [job.name for job in run.complete] == [name]


@pytest.mark.django_db
def test_until_stops_before_an_attempt_that_comes_later():
    enqueue("third_time_lucky")

    run = run_jobs(until=timedelta(seconds=609))

    assert chores.calls == [1, 2]
    assert [job.name for job in run.waiting] == ["third_time_lucky"]


@pytest.mark.django_db
def test_until_may_be_a_time():
    enqueue("snooze_once")

    assert run_jobs(until=timezone.now() + timedelta(hours=47)).waiting
    assert run_jobs(until=timezone.now() + timedelta(hours=49)).complete


@pytest.mark.django_db
def test_until_a_time_that_has_passed_runs_what_is_due():
    enqueue("note")
    enqueue("note", run_after=timezone.now() + timedelta(seconds=30))

    assert len(run_jobs(until=timezone.now() - timedelta(days=1))) == 1


@pytest.mark.django_db
def test_until_a_task_finds_the_time_at_which_it_is_due():
    started = timezone.now()
    enqueue("snooze_once")

    run_jobs(until=timedelta(days=3))

    first, second = chores.calls
    assert timedelta(0) <= first - started < timedelta(minutes=1)
    assert timedelta(days=2) <= second - first < timedelta(days=2, minutes=1)


@pytest.mark.django_db
def test_until_follows_a_task_that_schedules_its_next_run():
    enqueue("hourly")

    run_jobs(until=timedelta(hours=5))

    assert len(chores.calls) == 6
    assert Job.objects.filter(state="NEW").count() == 1


@pytest.mark.django_db
def test_until_goes_by_the_named_queues():
    enqueue("note", queue_name="mail", run_after=timezone.now() + timedelta(minutes=1))
    other = enqueue("note", run_after=timezone.now() + timedelta(minutes=1))

    assert len(run_jobs(queues=["mail"], until=timedelta(hours=1))) == 1
    other.refresh_from_db()
    assert other.state == "NEW"


@pytest.mark.django_db
def test_afterwards_the_time_is_what_it_was_before():
    before = timezone.now()
    run_jobs(until=timedelta(days=30))

    assert timezone.now() - before < timedelta(days=1)
    enqueue("note", run_after=timezone.now() + timedelta(days=1))
    assert run_jobs() == []


# In a test's transaction


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["breaks_and_is_told_of", "sends_bad_sql"])
def test_an_error_of_the_database_breaks_neither_the_tests_transaction_nor_the_hooks(name):
    job = enqueue(name)

    run = run_jobs()

    assert ids(run.failed) == [job.pk]
    assert chores.calls == [f"hook of {name}"]
    assert not User.objects.exists()


@pytest.mark.django_db
def test_an_error_of_the_database_in_a_hook_changes_nothing_as_in_a_worker():
    enqueue("breaks_in_its_hooks")

    assert len(run_jobs().failed) == 1
    assert chores.calls == ["hook of breaks_in_its_hooks"]


@pytest.mark.django_db
def test_an_atomic_job_goes_back_to_its_beginning():
    enqueue("breaks_atomically")

    assert len(run_jobs().failed) == 1
    assert not User.objects.exists()


@pytest.mark.django_db
def test_what_a_task_wrote_before_it_failed_stays_as_with_a_worker():
    enqueue("add_user_and_fail")

    run_jobs()

    assert User.objects.get().username == "stays"


@pytest.mark.django_db
def test_a_task_that_catches_an_error_of_the_database_is_told_what_a_test_cannot_do():
    enqueue("swallow_an_error")

    with pytest.raises(TransactionManagementError, match="TransactionTestCase"):
        run_jobs(raise_errors=True)

    assert chores.calls == ["swallowed"]


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_a_task_may_catch_an_error_of_the_database():
    enqueue("swallow_an_error")

    assert len(run_jobs(raise_errors=True).complete) == 1


@pytest.fixture
def nothing_is_foreseen(monkeypatch):
    """Of what the database refuses."""
    monkeypatch.setitem(WHY_UNSTORABLE, "priority", lambda priority: None)


@pytest.mark.parametrize(
    "around",
    [pytest.param(flag, marks=pytest.mark.django_db(transaction=flag)) for flag in (False, True)],
)
def test_a_job_whose_outcome_the_database_refuses_is_failed_and_the_test_goes_on(
    nothing_is_foreseen, around
):
    job, other = enqueue("set_what_is_refused"), enqueue("note")

    run = run_jobs()

    assert (ids(run.failed), ids(run.complete)) == ([job.pk], [other.pk])
    assert Attempt.objects.get().job_id == job.pk
    assert run.failed[0].priority == 0


@pytest.mark.django_db
def test_with_raise_errors_the_refusal_of_an_outcome_is_raised_and_written_down(
    nothing_is_foreseen,
):
    enqueue("set_what_is_refused")

    with pytest.raises((DatabaseError, OverflowError)):
        run_jobs(raise_errors=True)

    assert Job.objects.get().state == "FAILED"


@override_settings(JOBS=chores.JOBS)
class TestInATestCase(TestCase):
    def test_jobs_of_a_test_case_are_run_in_its_transaction(self):
        enqueue("atomic")
        enqueue("write_durably")
        assert len(run_jobs(raise_errors=True).complete) == 2

    async def test_an_async_test_runs_them_in_the_thread_of_its_transaction(self):
        await Job.objects.acreate(name="note")
        run = await sync_to_async(run_jobs)(raise_errors=True)
        assert len(run.complete) == 1

    def test_what_waits_for_a_commit_comes_when_the_test_asks_for_it(self):
        enqueue("run_on_commit")
        with self.captureOnCommitCallbacks() as callbacks:
            run_jobs()
        assert (len(callbacks), chores.calls) == (1, [])

        enqueue("run_on_commit")
        with self.captureOnCommitCallbacks(execute=True):
            run_jobs()
        assert chores.calls == ["committed"]


@override_settings(JOBS=chores.JOBS)
class TestInATransactionTestCase(TransactionTestCase):
    def test_jobs_are_run_outside_of_any_transaction_as_in_a_worker(self):
        enqueue("atomic")
        enqueue("run_on_commit")
        enqueue("write_durably")
        assert len(run_jobs(raise_errors=True).complete) == 3
        assert chores.calls == [None, "committed", "durable"]
