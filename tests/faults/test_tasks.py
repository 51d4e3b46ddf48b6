"""Scenarios 20, 21, 22: tasks that take more than their share, of memory, the GIL or time."""

from __future__ import annotations

import time

import pytest

from django_dbq.models import Attempt, Job
from tests.faults.conftest import (
    NOISE,
    states_of,
    wait_for_workers,
    wait_until_it_may_judge,
)

pytestmark = pytest.mark.processes


def test_20_a_task_that_gets_no_memory_fails_and_its_worker_goes_on(
    team, enqueue, runs, all_is_well
):
    """Memory that the kernel takes by killing the process: scenario 19."""
    (hog,) = enqueue("hog", priority=1)
    enqueue("note", 10)
    team.start()

    all_is_well(expected={hog: "FAILED"}, seconds=30)
    assert Attempt.objects.get().exception.endswith("MemoryError")
    assert len({run.pid for run in runs()}) == 1


@pytest.mark.parametrize(
    ("lease", "seconds"),
    [(1, 3), pytest.param(10, 60, marks=pytest.mark.slow_faults)],
    ids=["3-seconds", "60-seconds"],
)
def test_21_a_task_that_holds_the_gil_for_long_is_not_taken_for_dead(
    team, enqueue, runs, wait_for_run, all_is_well, lease, seconds
):
    (job,) = enqueue("hold_the_gil", workspace={"seconds": seconds})
    team.start(dbq={"LEASE": lease})
    wait_for_run(job)
    other = team.start(dbq={"LEASE": lease})
    wait_for_workers(2, team)
    wait_until_it_may_judge(other, lease=lease)

    all_is_well(seconds=seconds * 2 + 10)
    assert len(runs(job)) == 1
    assert all(member.runs for member in team.members), team.story()


@pytest.mark.parametrize("name", ["endless", "endless_alone"])
def test_22_a_task_that_ignores_its_timeout_is_ended_by_force_and_its_neighbours_pay_nothing(
    team, enqueue, runs, wait_for_run, all_is_well, name
):
    (endless,) = enqueue(name, priority=1)
    neighbours = enqueue("work", 4, workspace={"seconds": 0.4})
    team.start("--threads", 3)
    first = wait_for_run(endless)

    all_is_well(expected={endless: "FAILED"}, seconds=30)
    over = time.monotonic()
    assert states_of(*neighbours) == ["COMPLETE"] * 4
    assert len(runs(endless)) == 1
    assert over - first.started < (0.5 + 0.5 + 3) * NOISE
    assert Attempt.objects.get(job_id=endless).exception.endswith("JobTimeout")
    rows = Job.objects.filter(pk__in=neighbours).values_list("attempts", "crashes")
    assert set(rows) == {(1, 0)}
    if name == "endless_alone":
        assert all(len(runs(job)) == 1 for job in neighbours)  # their process lived on
