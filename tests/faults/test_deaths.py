"""Scenarios 1, 2, 3, 5, 6, 19: processes that die, wherever they are at that moment."""

from __future__ import annotations

import os
import random
import signal

import pytest

from django_dbq import queue
from django_dbq.exceptions import WorkerDied
from django_dbq.models import Attempt, Job
from django_dbq.rules.worlds import WORLDS
from tests.compat.waiting import wait_until
from tests.faults.conftest import (
    CHILD_KILLED,
    NOISE,
    SUPERVISOR_KILLED,
    is_run_by,
    states_of,
    wait_for_workers,
    wait_until_it_may_judge,
)
from tests.faults.team import family
from tests.processes.conftest import is_alive

pytestmark = pytest.mark.processes


def test_01_a_killed_worker_process_s_job_runs_again_within_half_a_second(
    team, enqueue, wait_for_run, go_on, all_is_well
):
    (job,) = enqueue("hold")
    team.start()
    killed_at = team.kill(wait_for_run(job).pid)
    second = wait_for_run(job, times=2)
    go_on()

    all_is_well()
    assert second.started - killed_at < CHILD_KILLED * NOISE
    assert Job.objects.get().crashes == 1


def test_01_of_many_async_jobs_those_that_ran_in_a_killed_process_run_again_and_no_others(
    team, enqueue, runs, go_on, all_is_well
):
    done = enqueue("note_async", 100, priority=2)
    held = enqueue("hold_async", 60, priority=1)
    behind = enqueue("note_async", 100)
    team.start("--threads", 2, "--async-concurrency", 60)
    wait_until(lambda: len(runs()) == 160, "60 were held", story=team.story)
    wait_until(lambda: set(states_of(*done)) == {"COMPLETE"}, "the first were done")
    team.kill(runs()[-1].pid)
    go_on()

    found = all_is_well()
    assert not found.duplicates
    assert len(found.runs) == 160 + 60 + 100
    assert crashes_of(held) == {1}
    assert crashes_of(done + behind) == {0}


@pytest.mark.skipif(not WORLDS, reason="this Django has no Tasks API")
def test_01_django_is_told_that_its_task_s_worker_died_and_what_the_next_attempt_returned(
    team, runs, go_on, all_is_well
):
    from tests.faults import django_tasks

    done = django_tasks.work.using(priority=1).enqueue(0)
    held = [django_tasks.hold.enqueue(0), *map(django_tasks.hold_async.enqueue, range(1, 20))]
    team.start("--threads", 2, "--async-concurrency", 20)
    wait_until(lambda: len(runs()) == 21, "all ran", story=team.story)
    wait_until(lambda: is_finished(done), "the first was done", story=team.story)
    assert {is_finished(result) or str(result.status) for result in held} == {"RUNNING"}
    team.kill(runs()[-1].pid)
    go_on()

    all_is_well()
    assert is_finished(done)
    assert (done.attempts, done.errors) == (1, [])
    for number, result in enumerate(held):
        assert is_finished(result)
        assert (str(result.status), result.return_value) == ("SUCCESSFUL", number)
        assert [error.exception_class for error in result.errors] == [WorkerDied]
        assert len(set(result.worker_ids)) == result.attempts == 2


def is_finished(result):
    result.refresh()
    return result.is_finished


@pytest.mark.parametrize("name", ["hold", "hold_async"])
def test_01_a_job_that_was_called_off_before_its_process_died_does_not_run_again(
    team, enqueue, wait_for_run, runs, all_is_well, name
):
    (job,) = enqueue(name)
    team.start("--async-concurrency", 1)
    pid = wait_for_run(job).pid
    os.kill(pid, signal.SIGSTOP)  # it will not hear of it
    queue.cancel(job)
    team.kill(pid)

    all_is_well(expected={job: "CANCELLED"})
    assert len(runs(job)) == 1


@pytest.mark.slow_faults
def test_01_worker_processes_are_killed_at_any_moment_of_their_work(
    team, enqueue, runs, all_is_well
):
    for name in ("steps", "steps_async", "atomic_effect", "ask_async"):
        enqueue(name, 250, workspace={"seconds": 0.005})
    options = ["--threads", 2, "--processes", 2, "--async-concurrency", 20]
    # A charge for each unlucky moment, and not the end of the job.
    member = team.start(*options, dbq={"MAX_CRASHES": 1_000})
    rounds = 0
    while rounds < 10 and Job.objects.exclude(state="COMPLETE").exists():
        pids = wait_until(lambda: family(member.pid)[1:], "a worker runs", story=team.story)
        before = len(runs())
        wait_until(
            lambda: (
                len(runs()) > before + random.randrange(20)  # noqa: B023
                or not Job.objects.exclude(state="COMPLETE").exists()
            ),
            "some more ran",
            seconds=60,  # after each of several quick deaths a supervisor waits longer
            story=team.story,
        )
        if random.choice(pids) in family(member.pid):
            team.kill(random.choice([pid for pid in pids if pid in family(member.pid)]))
        rounds += 1

    found = all_is_well(seconds=120)
    assert len(found.runs) >= 2_000
    assert team.deaths


@pytest.mark.parametrize(
    ("whom", "lease", "name", "count"),
    [
        ("group", 2, "hold", 1),
        ("supervisor", 2, "hold_async", 20),
        pytest.param("supervisor", 2, "hold", 1, marks=pytest.mark.slow_faults),
        pytest.param("group", 10, "hold", 1, marks=pytest.mark.slow_faults),
        pytest.param("group", 10, "hold_async", 20, marks=pytest.mark.slow_faults),
        pytest.param("supervisor", 10, "hold", 1, marks=pytest.mark.slow_faults),
    ],
)
def test_02_03_the_jobs_of_a_killed_supervisor_or_group_run_again_within_three_seconds(
    team, enqueue, wait_for_run, go_on, all_is_well, whom, lease, name, count
):
    jobs = enqueue(name, count)
    doomed = team.start("--async-concurrency", 20, dbq={"LEASE": lease})
    for job in jobs:
        first = wait_for_run(job)
    other = team.start("--async-concurrency", 20, dbq={"LEASE": lease})
    wait_for_workers(2, team)
    wait_until_it_may_judge(other, lease=lease)

    if whom == "supervisor":
        killed_at = team.kill(doomed.pid)
        wait_until(lambda: not is_alive(first.pid), "it took its worker along", seconds=1)
    else:
        killed_at = team.kill_group(doomed)
    second = wait_for_run(jobs[0], times=2)
    go_on()

    found = all_is_well()
    assert not found.duplicates
    assert is_run_by(other, second)
    assert second.started - killed_at < SUPERVISOR_KILLED * NOISE
    # Who knew which of them ran is gone. Of more jobs than threads nobody is blamed.
    assert crashes_of(jobs) == {1 if count == 1 else 0}


def test_05_claims_of_a_process_that_died_before_it_heard_of_them_cost_their_jobs_nothing(
    team, enqueue, arm, all_is_well
):
    enqueue("note", 30)
    fired = arm()
    team.start(DBQ_FAULTS_KILL="claim:after")

    found = all_is_well()
    assert fired()
    assert not found.duplicates
    assert set(Job.objects.values_list("attempts", "crashes")) == {(1, 0)}
    assert not Attempt.objects.exists()


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("note", "acknowledge:before"),
        ("note", "acknowledge:after"),
        ("note", "exchange:before"),
        ("note", "exchange:after"),
        ("note_async", "exchange:after"),
        ("atomic_effect", "acknowledge:before"),
        ("atomic_effect", "acknowledge:after"),
    ],
)
def test_06_between_the_end_of_a_task_and_the_commit_of_its_outcome_the_process_dies(
    team, enqueue, arm, all_is_well, name, point
):
    enqueue(name, 30)
    fired = arm()
    team.start("--async-concurrency", 30, DBQ_FAULTS_KILL=point)

    found = all_is_well()
    assert fired()
    if point == "exchange:after":
        assert not found.duplicates  # it was committed; what was claimed with it had not begun
        assert set(Job.objects.values_list("attempts", "crashes")) == {(1, 0)}


def test_19_a_job_that_kills_its_process_each_time_fails_and_costs_its_neighbours_nothing(
    team, enqueue, runs, tmp_path, all_is_well
):
    (poison,) = enqueue("die", priority=1)
    neighbours = enqueue("work", 6, workspace={"seconds": 0.3})
    team.start("--threads", 3)

    all_is_well(expected={poison: "FAILED"}, seconds=30)
    assert len(runs(poison)) == 3
    assert states_of(*neighbours) == ["COMPLETE"] * 6
    assert Job.objects.get(pk=poison).crashes == 3
    told = (tmp_path / f"failed-{poison}").read_text()
    pid, _, message = told.partition(" ")
    assert int(pid) not in {run.pid for run in runs(poison)}
    for death in Attempt.objects.filter(job_id=poison, exception__endswith="WorkerDied"):
        assert death.worker in message


@pytest.mark.parametrize("threads", [1, 3])
def test_19_one_death_is_charged_to_the_job_that_ran_and_to_none_that_waited(
    team, enqueue, all_is_well, threads
):
    (killer,) = enqueue("die_once", priority=1)
    enqueue("note", 40)
    team.start("--threads", threads)

    all_is_well()
    crashes = dict(Job.objects.values_list("pk", "crashes"))
    charged = {str(job) for job, count in crashes.items() if count}
    assert killer in charged
    assert len(charged) <= threads


def crashes_of(jobs):
    return set(Job.objects.filter(pk__in=jobs).values_list("crashes", flat=True))
