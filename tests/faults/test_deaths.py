"""Scenarios 1, 2, 3, 5, 6, 19: processes that die, wherever they are at that moment."""

from __future__ import annotations

import random

import pytest

from django_dbq.models import Attempt, Job
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


@pytest.mark.slow_faults
def test_01_worker_processes_are_killed_at_any_moment_of_their_work(
    team, enqueue, runs, all_is_well
):
    jobs = enqueue("steps", 400, workspace={"seconds": 0.005})
    jobs += enqueue("atomic_effect", 400, workspace={"seconds": 0.005})
    # A charge for each unlucky moment, and not the end of the job.
    member = team.start("--threads", 2, "--processes", 2, dbq={"MAX_CRASHES": 1_000})
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
    assert len(found.runs) >= 1_600
    assert team.deaths


@pytest.mark.parametrize(
    ("whom", "lease"),
    [
        ("group", 2),
        pytest.param("supervisor", 2, marks=pytest.mark.slow_faults),
        pytest.param("group", 10, marks=pytest.mark.slow_faults),
        pytest.param("supervisor", 10, marks=pytest.mark.slow_faults),
    ],
)
def test_02_03_the_job_of_a_killed_supervisor_or_group_runs_again_within_three_seconds(
    team, enqueue, wait_for_run, go_on, all_is_well, whom, lease
):
    (job,) = enqueue("hold")
    doomed = team.start(dbq={"LEASE": lease})
    first = wait_for_run(job)
    other = team.start(dbq={"LEASE": lease})
    wait_for_workers(2, team)
    wait_until_it_may_judge(other, lease=lease)

    if whom == "supervisor":
        killed_at = team.kill(doomed.pid)
        wait_until(lambda: not is_alive(first.pid), "it took its worker along", seconds=1)
    else:
        killed_at = team.kill_group(doomed)
    second = wait_for_run(job, times=2)
    go_on()

    all_is_well()
    assert is_run_by(other, second)
    assert second.started - killed_at < SUPERVISOR_KILLED * NOISE
    assert Job.objects.get().crashes == 1


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
        ("atomic_effect", "acknowledge:before"),
        ("atomic_effect", "acknowledge:after"),
    ],
)
def test_06_between_the_end_of_a_task_and_the_commit_of_its_outcome_the_process_dies(
    team, enqueue, arm, all_is_well, name, point
):
    enqueue(name, 30)
    fired = arm()
    team.start(DBQ_FAULTS_KILL=point)

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
