"""Scenarios 20, 21, 22: tasks that take more than their share, of memory, the GIL or time."""

from __future__ import annotations

import time

import pytest

from django_dbq import queue
from django_dbq.models import Attempt, Job
from tests.compat.waiting import wait_until
from tests.faults.conftest import (
    NOISE,
    states_of,
    wait_for_workers,
    wait_until_it_may_judge,
)
from tests.faults.team import family

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
    ("name", "lease", "seconds"),
    [
        ("hold_the_gil", 1, 3),
        ("block", 1, 3),
        pytest.param("hold_the_gil", 10, 60, marks=pytest.mark.slow_faults),
        pytest.param("block", 10, 60, marks=pytest.mark.slow_faults),
    ],
)
def test_21_a_task_that_holds_the_gil_or_the_event_loop_for_long_is_not_taken_for_dead(
    team, enqueue, runs, wait_for_run, all_is_well, name, lease, seconds
):
    beside_it = enqueue("work_async", 10, priority=1, workspace={"seconds": 0.5})
    (job,) = enqueue(name, workspace={"seconds": seconds})
    team.start("--async-concurrency", 11, dbq={"LEASE": lease})
    wait_for_run(job)
    other = team.start("--async-concurrency", 11, dbq={"LEASE": lease})
    wait_for_workers(2, team)
    wait_until_it_may_judge(other, lease=lease)

    found = all_is_well(seconds=seconds * 2 + 10)
    assert len(found.runs) == 1 + len(beside_it)
    assert all(member.runs for member in team.members), team.story()


@pytest.mark.parametrize(
    ("name", "neighbour"),
    [
        ("endless", "work"),
        ("endless_alone", "work"),
        ("endless_async", "work_async"),
        ("restless_async", "work_async"),
    ],
)
def test_22_a_task_that_ignores_its_timeout_is_ended_by_force_and_its_neighbours_pay_nothing(
    team, enqueue, runs, wait_for_run, all_is_well, name, neighbour
):
    (endless,) = enqueue(name, priority=1)
    neighbours = enqueue(neighbour, 4, workspace={"seconds": 0.4})
    team.start("--threads", 3, "--async-concurrency", 5)
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


def test_22_of_many_async_jobs_each_is_cancelled_timed_out_or_finished_for_itself(
    team, enqueue, runs, go_on, all_is_well
):
    late = enqueue("hold_async_for_a_second", 30)
    unwanted = enqueue("hold_async", 30)
    wanted = enqueue("hold_async", 30)
    member = team.start("--async-concurrency", 90)
    wait_until(lambda: len(runs()) == 90, "all ran", story=team.story)
    for job in unwanted:
        queue.cancel(job)
    wait_until(
        lambda: set(states_of(*late, *unwanted)) == {"FAILED", "CANCELLED"},
        "those that had to end had ended",
        story=team.story,
    )
    assert set(states_of(*wanted)) == {"PROCESSING"}
    go_on()

    found = all_is_well(
        expected={**dict.fromkeys(late, "FAILED"), **dict.fromkeys(unwanted, "CANCELLED")}
    )
    assert len(found.runs) == 90
    assert {run.pid for run in found.runs} <= set(family(member.pid))
    assert set(Job.objects.values_list("attempts", "crashes")) == {(1, 0)}
    assert set(Attempt.objects.values_list("exception")) == {("django_dbq.exceptions.JobTimeout",)}
