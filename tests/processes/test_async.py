"""Async tasks in real workers: hundreds at once, ended when they must end, lost never."""

from __future__ import annotations

import os
import signal
import time

import pytest
from django.contrib.auth.models import User

from django_dbq import queue
from django_dbq.models import Attempt, Job
from django_dbq.rules.states import State
from django_dbq.rules.worlds import WORLDS
from tests.processes.conftest import LEASE_SECONDS, states, wait_for_end, workers

pytestmark = pytest.mark.processes
needs_django_tasks = pytest.mark.skipif(not WORLDS, reason="this Django has no Tasks API")


@pytest.fixture
def tidied(tmp_path):
    """The jobs whose tasks were cancelled and could tidy up."""
    return lambda: {path.name[len("tidied-") :] for path in tmp_path.glob("tidied-*")}


def test_hundreds_of_async_jobs_run_at_once_in_one_process(start, tmp_path, transactional_db, ran):
    workspaces = [{"folder": str(tmp_path), "count": 300} for _ in range(300)]
    queue.enqueue_many("meet", workspaces)
    worker = start("--async-concurrency", 300, "--burst")

    assert worker.exit_code() == 0, worker.output
    assert states() == {State.COMPLETE: 300}
    assert len({pid for _, pid, _ in ran()}) == 1


@needs_django_tasks
def test_hundreds_of_async_django_tasks_run_at_once_in_one_process(start, transactional_db):
    from tests.processes.django_tasks import meet

    results = [meet.enqueue(200) for _ in range(200)]
    worker = start("--async-concurrency", 200, "--burst")

    assert worker.exit_code() == 0, worker.output
    for result in results:
        result.refresh()
    assert sorted(result.return_value for result in results) == list(range(1, 201))


@needs_django_tasks
def test_an_async_django_task_reads_and_writes_by_the_async_orm(start, transactional_db):
    from tests.processes.django_tasks import make_user

    result = make_user.enqueue()
    assert start("--burst").exit_code() == 0
    result.refresh()

    assert result.return_value == result.id == User.objects.get().username


def test_no_more_async_jobs_run_at_a_time_than_asked_for(start, enqueue, ran, go_on, times_run):
    enqueue("hold_async", 8)
    worker = start("--async-concurrency", 3)
    worker.wait_until(lambda: len(ran()) == 3, "three jobs ran")
    worker.wait_until(lambda: states()[State.PROCESSING] == 3, "others were handed back")

    assert len(ran()) == 3
    go_on()
    wait_for_end(8, worker)
    assert set(times_run().values()) == {1}


def test_async_jobs_go_on_while_the_only_thread_is_busy(start, enqueue, pid_that_runs, go_on):
    enqueue("note_async", 3)
    worker = start()
    wait_for_end(3, worker)
    (held,) = enqueue("hold")
    pid_that_runs(held, worker)
    enqueue("note_async", 20)

    wait_for_end(23, worker)
    assert states()[State.PROCESSING] == 1
    go_on()
    wait_for_end(24, worker)


def test_jobs_of_threads_go_on_while_every_slot_is_taken(start, enqueue, ran, go_on):
    enqueue("hold_async", 5)
    worker = start("--async-concurrency", 2)
    worker.wait_until(lambda: len(ran()) == 2, "two jobs ran")
    enqueue("note", 5, priority=1)

    wait_for_end(5, worker)
    go_on()
    wait_for_end(10, worker)


def test_with_a_rate_limit_async_jobs_run_one_by_one(start, enqueue):
    enqueue("quickly", 3)
    worker = start("--rate_limit", "0.4", "--burst")

    assert worker.exit_code() == 0
    moments = sorted(Job.objects.values_list("finished_at", flat=True))
    gaps = [(later - earlier).total_seconds() for earlier, later in zip(moments, moments[1:])]
    assert len(gaps) == 2
    assert all(gap > 0.35 for gap in gaps)


# ── How they end ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["hold_with_timeout", "hold_isolated"])
def test_a_timeout_cancels_the_task_which_can_tidy_up(start, enqueue, name, tidied):
    (job,) = enqueue(name)
    worker = start("--burst")

    assert worker.exit_code() == 0
    assert states() == {State.FAILED: 1}
    assert Attempt.objects.get().exception == "django_dbq.exceptions.JobTimeout"
    assert tidied() == {job}
    assert "is killed" not in worker.output


def test_a_running_job_that_is_called_off_is_cancelled_and_the_others_go_on(
    start, enqueue, pid_that_runs, tidied, go_on
):
    one, other = enqueue("hold_async", 2)
    worker = start()
    pid_that_runs(one, worker)
    pid_that_runs(other, worker)

    queue.cancel(one, "not needed")
    worker.wait_until(lambda: states()[State.CANCELLED], "the job was cancelled")
    assert tidied() == {one}
    go_on()
    wait_for_end(1, worker)
    assert Job.objects.get(pk=one).cancel_reason == "not needed"


def test_a_worker_that_is_told_to_stop_lets_its_async_jobs_finish(
    start, enqueue, ran, go_on, times_run
):
    enqueue("hold_async", 20)
    worker = start()
    worker.wait_until(lambda: len(ran()) == 20, "all ran")
    worker.signal(signal.SIGTERM)
    worker.wait_until(lambda: states()[State.STOPPING] == 20, "all were STOPPING")
    go_on()

    assert worker.exit_code() == 0
    assert states() == {State.COMPLETE: 20}
    assert set(times_run().values()) == {1}
    assert workers() == [], worker.output


def test_with_its_grace_time_over_a_worker_cancels_and_hands_back(start, enqueue, ran, tidied):
    jobs = enqueue("hold_async", 20)
    worker = start("--grace", "0.2")
    worker.wait_until(lambda: len(ran()) == 20, "all ran")
    worker.signal(signal.SIGTERM)

    assert worker.exit_code() == 0
    assert states() == {State.READY: 20}
    assert set(Job.objects.values_list("attempts", "crashes")) == {(0, 0)}
    assert tidied() == set(jobs)
    assert "is killed" not in worker.output
    assert workers() == []


# ── What blocks ──────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_blocks_is_named_and_its_worker_keeps_its_lease(
    start, enqueue, pid_that_runs, go_on, times_run
):
    (job,) = enqueue("block")
    worker = start()
    pid_that_runs(job, worker)
    began_at, registered = time.monotonic(), workers()
    worker.wait_until(lambda: "blocks the event loop" in worker.output, "it was named")
    worker.wait_until(
        lambda: time.monotonic() - began_at > 1.5 * LEASE_SECONDS, "more than a lease went by"
    )

    assert workers() == registered
    assert states() == {State.PROCESSING: 1}
    (line,) = (line for line in worker.output.splitlines() if "blocks the event loop" in line)
    assert f'Async task tests.processes.async_tasks.block of job name="block" id={job}' in line
    assert "async_tasks.py:" in line
    go_on()
    wait_for_end(1, worker)
    assert times_run()[job] == 1


def test_a_task_that_blocks_beyond_its_timeout_is_ended_with_its_process(
    start, enqueue, pid_that_runs, times_run, ran
):
    (bystander,) = enqueue("hold_async", priority=1)
    (job,) = enqueue("block_too_long")
    worker = start()
    worker.wait_until(lambda: states()[State.FAILED] == 1, "the job had failed")

    assert Attempt.objects.get(job_id=job).exception == "django_dbq.exceptions.JobTimeout"
    worker.wait_until(lambda: times_run()[bystander] == 2, "the other began anew")
    assert times_run()[job] == 1
    assert Job.objects.get(pk=bystander).crashes == 0


# ── Around them ──────────────────────────────────────────────────────────────────────────────────


def test_async_tasks_read_and_write_by_the_async_orm(start, enqueue):
    jobs = enqueue("use_database", 30)
    worker = start("--burst")

    assert worker.exit_code() == 0, worker.output
    assert states() == {State.COMPLETE: 30}, worker.output
    assert set(User.objects.values_list("username", flat=True)) == {f"of {job}" for job in jobs}
    for job in Job.objects.all():
        assert job.workspace["names"] == [f"of {job.pk}"]


def test_hooks_of_an_async_task_run_around_it_and_may_use_the_database(start, transactional_db):
    fine = queue.enqueue("with_hooks", {"steps": []})
    failing = queue.enqueue("with_hooks", {"steps": [], "fails": True})
    worker = start("--burst")

    assert worker.exit_code() == 0
    fine.refresh_from_db()
    failing.refresh_from_db()
    assert (fine.state, failing.state) == (State.COMPLETE, State.FAILED)
    assert fine.workspace["steps"] == ["before, 0 users", "task", "after, 0 users"]
    assert failing.workspace["steps"] == [
        "before, 0 users",
        "task",
        "LookupError, 0 users",
        "after, 0 users",
    ]


def test_a_process_that_is_killed_in_the_middle_of_async_jobs_loses_none(
    start, enqueue, ran, go_on, times_run
):
    jobs = enqueue("hold_async", 12)
    worker = start("--async-concurrency", 4)
    worker.wait_until(lambda: len(ran()) == 4, "four ran")
    (pid,) = {pid for _, pid, _ in ran()}
    first = set(times_run())

    os.kill(pid, signal.SIGKILL)
    go_on()
    wait_for_end(12, worker)

    assert set(times_run()) == set(jobs)
    assert {job: times for job, times in times_run().items() if times > 1} == dict.fromkeys(
        first, 2
    )
    assert set(Job.objects.exclude(pk__in=first).values_list("crashes", flat=True)) == {0}
    assert set(Job.objects.filter(pk__in=first).values_list("crashes", flat=True)) == {1}
