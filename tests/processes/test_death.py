"""A process that dies takes no job along."""

from __future__ import annotations

import os
import signal
import time

import pytest

from django_dbq.models import Attempt, Job
from django_dbq.rules.states import State
from tests.compat.waiting import wait_until
from tests.processes.conftest import LEASE_SECONDS, is_alive, states, wait_for_end, workers

pytestmark = pytest.mark.processes


def test_a_job_whose_process_is_killed_is_finished_by_the_next_process_at_once(
    start, enqueue, pid_that_runs, ran, go_on
):
    (job,) = enqueue("hold")
    worker = start()
    pid = pid_that_runs(job, worker)

    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    worker.wait_until(lambda: len(ran()) == 2, "the job was begun again")
    waited = time.monotonic() - killed_at
    go_on()
    wait_for_end(1, worker)

    assert ran()[1][1] != pid
    assert waited < LEASE_SECONDS  # nobody waited for a lease to run out
    assert "SIGKILL" in worker.output
    assert worker.runs


def test_a_killed_supervisor_takes_its_worker_along_and_others_finish_the_job(
    start, enqueue, pid_that_runs, ran, go_on
):
    (job,) = enqueue("hold")
    doomed = start()
    pid = pid_that_runs(job, doomed)
    other = start()
    other.wait_until(lambda: len(workers()) == 2, "the other worker was registered")

    doomed.signal(signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the worker process was gone", seconds=1)
    assert states()[State.PROCESSING] == 1

    other.wait_until(lambda: len(ran()) == 2, "the other worker took the job")
    go_on()
    wait_for_end(1, other)

    assert ran()[1][1] != pid
    assert "taken for dead" in other.output
    assert len(workers()) == 1


def test_a_job_that_kills_its_process_takes_no_other_job_along(start, enqueue, times_run):
    (killer,) = enqueue("kill_own_process", priority=1)
    others = enqueue("note", 20)
    worker = start()
    wait_for_end(21, worker)

    assert times_run()[killer] == 2
    assert all(times_run()[job] == 1 for job in others)
    assert worker.runs


def test_a_process_that_dies_when_a_task_has_just_returned_charges_its_job(
    start, enqueue, times_run
):
    (killer,) = enqueue("die_when_it_has_returned", priority=1)
    others = enqueue("note", 20)
    worker = start()
    wait_for_end(21, worker)

    job = Job.objects.get(pk=killer)
    assert job.crashes == 1
    assert times_run() == {killer: 2, **dict.fromkeys(others, 1)}


def test_a_task_that_takes_its_process_all_files_away_is_given_up_and_others_run(start, enqueue):
    (closer,) = enqueue("close_everything", priority=1)
    enqueue("note", 20)
    worker = start()
    wait_for_end(20, worker)
    worker.wait_until(lambda: states()["FAILED"] == 1, "the task was given up")

    assert "PoisonJob" in Attempt.objects.filter(job_id=closer).last().exception


def test_a_process_that_a_task_ends_without_an_error_is_replaced_too(start, enqueue, times_run):
    (leaver,) = enqueue("leave_quietly", priority=1)
    (other,) = enqueue("note")
    worker = start()
    wait_for_end(2, worker)

    assert times_run() == {leaver: 2, other: 1}
    assert worker.runs


def test_what_a_killed_process_had_claimed_and_not_begun_runs_once(
    start, enqueue, pid_that_runs, times_run, go_on
):
    enqueue("note", 50, priority=2)  # quick ones first, so that it claims many at once
    (held,) = enqueue("hold", priority=1)
    after = enqueue("note", 50)
    worker = start()

    os.kill(pid_that_runs(held, worker), signal.SIGKILL)
    go_on()
    wait_for_end(101, worker)

    assert times_run()[held] == 2
    assert all(times_run()[job] == 1 for job in after)


def test_without_a_supervisor_a_killed_worker_s_job_is_finished_by_another_after_the_lease(
    start, enqueue, pid_that_runs, ran, go_on
):
    (job,) = enqueue("hold")
    doomed = start("--processes", 0)
    assert pid_that_runs(job, doomed) == doomed.pid
    doomed.signal(signal.SIGKILL)

    other = start()
    other.wait_until(lambda: len(ran()) == 2, "the other worker took the job")
    go_on()
    wait_for_end(1, other)


def test_a_job_without_an_owner_is_not_rescued(start, enqueue, ran):
    (mine,) = enqueue("note", priority=1)
    Job.objects.filter(pk=mine).update(state=State.PROCESSING)  # as a 3.3 worker holds it
    worker = start()
    silent = 999_999
    (other,) = enqueue("note")
    Job.objects.filter(pk=other).update(state=State.PROCESSING, worker_id=silent)

    # The other one's owner is gone: when that one is rescued, ours would have been, too.
    worker.wait_until(lambda: [job for job, _, _ in ran()] == [other], "the other one ran")
    assert Job.objects.get(pk=mine).state == State.PROCESSING


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_task_that_forks_and_returns_twice_is_done_once(start, enqueue, times_run):
    jobs = enqueue("fork_and_return", 3) + enqueue("note", 30)
    worker = start("--burst")

    assert worker.exit_code() == 0
    assert states() == {"COMPLETE": 33}
    assert times_run() == dict.fromkeys(jobs, 1)
