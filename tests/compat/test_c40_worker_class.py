"""C40: the class `Worker`, by which test suites of 3.3's users run their jobs."""

from __future__ import annotations

import os
import signal
import threading
from datetime import timedelta
from types import SimpleNamespace
from unittest import mock

import pytest
from django.db import connection
from django.test import TestCase
from django.utils import timezone

from django_dbq.management.commands import worker as module
from django_dbq.management.commands.worker import Worker
from django_dbq.models import Job
from tests.compat import functions
from tests.compat.functions import also_nothing, nothing

pytestmark = pytest.mark.django_db

SLEEP = "django_dbq.management.commands.worker.sleep"


def state_of(job):
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


def at(moment):
    """Make it that time, as time-travelling test libraries do."""
    return mock.patch("django.utils.timezone.now", return_value=moment)


@pytest.fixture
def naps():
    """What `process_job` asked to sleep, in seconds; it does not really sleep."""
    with mock.patch(SLEEP) as sleep:
        naps = sleep.call_args_list
        yield naps


# ── what a worker is ─────────────────────────────────────────────────────────────────────────────


def test_c40_a_new_worker_is_alive_and_has_no_job():
    worker = Worker("mail", 5)

    assert worker.queue_name == "mail"
    assert worker.rate_limit_in_seconds == 5
    assert worker.alive is True
    assert worker.current_job is None
    assert worker.last_job_finished is None


def test_c40_the_arguments_have_names():
    worker = Worker(name="mail", rate_limit_in_seconds=5)

    assert (worker.queue_name, worker.rate_limit_in_seconds) == ("mail", 5)


def test_c40_making_a_worker_asks_the_database_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        Worker("default", 1)


# ── _process_job ─────────────────────────────────────────────────────────────────────────────────


def test_c40_process_job_runs_the_next_due_job_to_its_next_saved_state(declare):
    entry = declare("import", nothing, also_nothing)
    job = Job.objects.create(name="import")
    worker = Worker("default", 1)

    worker._process_job()
    job.refresh_from_db()
    assert (job.state, job.next_task) == ("READY", entry["tasks"][1])
    worker._process_job()

    job.refresh_from_db()
    assert (job.state, job.next_task) == ("COMPLETE", "")


def test_c40_it_runs_one_job_at_a_time(declare):
    declare("import", nothing)
    first = Job.objects.create(name="import", priority=1)
    second = Job.objects.create(name="import")

    Worker("default", 1)._process_job()

    assert (state_of(first), state_of(second)) == ("COMPLETE", "NEW")


def test_c40_it_returns_none_whether_there_was_a_job_or_not(declare):
    declare("import", nothing)
    Job.objects.create(name="import")
    worker = Worker("default", 1)

    assert worker._process_job() is None
    assert worker._process_job() is None


def test_c40_it_serves_its_queue_only(declare):
    declare("import", nothing)
    mail = Job.objects.create(name="import", queue_name="mail")
    other = Job.objects.create(name="import", priority=9)

    Worker("mail", 1)._process_job()

    assert (state_of(mail), state_of(other)) == ("COMPLETE", "NEW")


def test_c40_it_runs_the_job_in_this_process_thread_and_connection(declare):
    seen = []

    def task(job):
        seen.append((os.getpid(), threading.get_ident(), connection.connection))

    declare("import", task)
    Job.objects.create(name="import")

    Worker("default", 1)._process_job()

    assert seen == [(os.getpid(), threading.get_ident(), connection.connection)]


def test_c40_it_does_not_raise_when_the_task_does(declare):
    declare("import", functions.break_down)
    job = Job.objects.create(name="import")

    Worker("default", 1)._process_job()

    assert state_of(job) == "FAILED"


def test_c40_it_looks_neither_at_the_rate_limit_nor_at_the_clock_of_the_last_job(declare, naps):
    declare("import", nothing)
    job = Job.objects.create(name="import")
    worker = Worker("default", 1000)
    worker.last_job_finished = earlier = timezone.now()

    worker._process_job()

    assert state_of(job) == "COMPLETE"
    assert worker.last_job_finished == earlier
    assert naps == []


def test_c40_current_job_is_the_job_while_it_runs_and_none_afterwards(declare):
    worker = Worker("default", 1)
    seen = []

    def task(job):
        seen.append(worker.current_job.pk)

    declare("import", task)
    job = Job.objects.create(name="import")

    worker._process_job()

    assert seen == [job.pk]
    assert worker.current_job is None


def test_c40_current_job_is_none_after_a_failure_too(declare):
    declare("import", functions.break_down)
    Job.objects.create(name="import")
    worker = Worker("default", 1)

    worker._process_job()

    assert worker.current_job is None


def test_c40_the_clock_of_the_test_decides_which_jobs_are_due(declare):
    declare("import", nothing)
    due = timezone.now() + timedelta(days=30)
    job = Job.objects.create(name="import", run_after=due)
    worker = Worker("default", 1)

    with at(due - timedelta(seconds=1)):
        worker._process_job()
    assert state_of(job) == "NEW"
    with at(due + timedelta(seconds=1)):
        worker._process_job()

    assert state_of(job) == "COMPLETE"


def test_c40_a_clock_that_was_turned_back_decides_too(declare):
    declare("import", nothing)
    past = timezone.now() - timedelta(days=30)
    with at(past):
        job = Job.objects.create(name="import", run_after=past + timedelta(days=1))
        Worker("default", 1)._process_job()
        assert state_of(job) == "NEW"

    Worker("default", 1)._process_job()

    assert state_of(job) == "COMPLETE"


def test_c40_a_suite_that_runs_everything_in_a_loop_comes_to_an_end(declare):
    """The helper that many projects have: work until nothing is due."""
    declare("parent", lambda job: Job.objects.create(name="child"))
    declare("child", nothing, also_nothing)
    Job.objects.create(name="parent")

    worker = Worker("default", 0)
    rounds = 0
    while Job.objects.filter(state__in=[Job.STATES.NEW, Job.STATES.READY]).exists():
        worker._process_job()
        rounds += 1
        assert rounds < 10

    assert rounds == 3
    assert set(Job.objects.values_list("state", flat=True)) == {"COMPLETE"}


class TestInADjangoTestCase(TestCase):
    """Most suites call it from a `TestCase`, whose transaction is never committed."""

    def test_c40_it_works_inside_a_test_case(self):
        path = "tests.compat.functions.nothing"
        with self.settings(JOBS={"import": {"tasks": [path]}}):
            job = Job.objects.create(name="import")

            Worker("default", 1)._process_job()

            job.refresh_from_db()
            assert job.state == Job.STATES.COMPLETE


# ── process_job ──────────────────────────────────────────────────────────────────────────────────


def test_c40_process_job_sleeps_a_second_and_runs_a_job(declare, naps):
    declare("import", nothing)
    job = Job.objects.create(name="import")
    worker = Worker("default", 5)
    now = timezone.now()

    with at(now):
        worker.process_job()

    assert naps == [mock.call(1)]
    assert state_of(job) == "COMPLETE"
    assert worker.last_job_finished == now


def test_c40_process_job_sleeps_before_it_works(declare):
    order = []
    declare("import", lambda job: order.append("task"))
    Job.objects.create(name="import")

    with mock.patch(SLEEP, side_effect=lambda seconds: order.append("sleep")):
        Worker("default", 1).process_job()

    assert order == ["sleep", "task"]


def test_c40_process_job_returns_when_the_rate_limit_has_not_passed(declare, naps):
    declare("import", nothing)
    Job.objects.create(name="import")
    worker = Worker("default", 5)
    now = timezone.now()
    worker.last_job_finished = finished = now - timedelta(seconds=4.9)

    with at(now):
        worker.process_job()

    assert naps == [mock.call(1)]
    assert Job.objects.get().state == "NEW"
    assert worker.last_job_finished == finished


@pytest.mark.parametrize("seconds", [5, 5.1, 3600])
def test_c40_process_job_works_when_the_rate_limit_has_passed(declare, naps, seconds):
    declare("import", nothing)
    Job.objects.create(name="import")
    worker = Worker("default", 5)
    now = timezone.now()
    worker.last_job_finished = now - timedelta(seconds=seconds)

    with at(now):
        worker.process_job()

    assert Job.objects.get().state == "COMPLETE"
    assert worker.last_job_finished == now


def test_c40_process_job_without_work_counts_as_a_job(naps):
    """3.3 set the time whether or not it had found a job."""
    worker = Worker("default", 5)
    now = timezone.now()

    with at(now):
        worker.process_job()

    assert worker.last_job_finished == now


def test_c40_process_job_goes_through_the_workers_own_process_job(naps):
    worker = Worker("default", 5)
    with mock.patch.object(worker, "_process_job") as inner:
        worker.process_job()

    inner.assert_called_once_with()


def test_c40_the_time_is_taken_after_the_job(declare, naps):
    clock = [timezone.now()]

    def task(job):
        clock[0] += timedelta(minutes=10)

    declare("import", task)
    Job.objects.create(name="import")
    worker = Worker("default", 5)

    with mock.patch("django.utils.timezone.now", side_effect=lambda: clock[0]):
        worker.process_job()

    assert worker.last_job_finished == clock[0]


@pytest.fixture
def stand_in():
    """An object with what `process_job` may use of a worker, and nothing else."""
    return SimpleNamespace(
        rate_limit_in_seconds=5, last_job_finished=None, _process_job=mock.Mock()
    )


def test_c40_process_job_can_be_called_with_a_stand_in(stand_in, naps):
    now = timezone.now()

    with at(now):
        Worker.process_job(stand_in)

    assert naps == [mock.call(1)]
    stand_in._process_job.assert_called_once_with()
    assert stand_in.last_job_finished == now


def test_c40_process_job_of_a_stand_in_keeps_the_rate_limit(stand_in, naps):
    now = timezone.now()
    stand_in.last_job_finished = now - timedelta(seconds=1)

    with at(now):
        Worker.process_job(stand_in)

    assert naps == [mock.call(1)]
    stand_in._process_job.assert_not_called()


def test_c40_process_job_can_be_called_with_a_mock(naps):
    worker = mock.MagicMock()
    worker.rate_limit_in_seconds = 5
    worker.last_job_finished = timezone.now() - timedelta(seconds=6)

    Worker.process_job(worker)

    worker._process_job.assert_called_once_with()


def test_c40_sleep_is_a_name_of_that_module():
    assert callable(module.sleep)


# ── shutdown and run ─────────────────────────────────────────────────────────────────────────────


def test_c40_shutdown_without_a_job_only_ends_the_loop(django_assert_num_queries):
    worker = Worker("default", 1)

    with django_assert_num_queries(0):
        worker.shutdown(signal.SIGTERM, None)

    assert worker.alive is False


def test_c40_shutdown_marks_the_current_job_stopping(declare):
    declare("import", nothing)
    worker = Worker("default", 1)
    worker.current_job = job = Job.objects.create(name="import")

    worker.shutdown(signal.SIGTERM, None)

    assert worker.alive is False
    assert job.state == "STOPPING"
    assert state_of(job) == "STOPPING"


def test_c40_shutdown_in_the_middle_of_a_job_lets_it_end_as_usual(declare):
    worker = Worker("default", 1)
    seen = []

    def task(job):
        worker.shutdown(signal.SIGINT, None)
        seen.append(state_of(job))
        job.workspace["after"] = "the signal"

    entry = declare("import", task, nothing)
    job = Job.objects.create(name="import")

    worker._process_job()

    assert seen == ["STOPPING"]
    assert worker.alive is False
    job.refresh_from_db()
    assert (job.state, job.next_task) == ("READY", entry["tasks"][1])
    assert job.workspace == {"after": "the signal"}


def test_c40_shutdown_in_the_middle_of_the_last_task_lets_the_job_complete(declare):
    worker = Worker("default", 1)
    declare("import", lambda job: worker.shutdown(signal.SIGTERM, None))
    job = Job.objects.create(name="import")

    worker._process_job()

    assert state_of(job) == "COMPLETE"


def test_c40_run_loops_while_the_worker_is_alive():
    worker = Worker("default", 1)
    rounds = []

    def process_job():
        rounds.append(worker.alive)
        worker.alive = len(rounds) < 3

    with mock.patch.object(worker, "process_job", side_effect=process_job):
        worker.run()

    assert rounds == [True, True, True]


def test_c40_run_of_a_worker_that_is_not_alive_does_nothing(naps):
    worker = Worker("default", 1)
    worker.alive = False

    worker.run()

    assert naps == []


def test_c40_run_works_off_the_queue_until_a_task_asks_to_stop(declare, naps):
    worker = Worker("default", 0)
    declare("import", nothing)
    declare("last", lambda job: worker.shutdown(signal.SIGTERM, None))
    jobs = [Job.objects.create(name="import") for _ in range(3)]
    last = Job.objects.create(name="last", priority=-1)
    after = Job.objects.create(name="import", priority=-2)

    worker.run()

    assert {state_of(job) for job in [*jobs, last]} == {"COMPLETE"}
    assert state_of(after) == "NEW"
    assert len(naps) == 4
