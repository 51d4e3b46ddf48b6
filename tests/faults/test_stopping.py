"""Scenarios 23, 24: workers that are told to stop, once and twice, with jobs in their hands."""

from __future__ import annotations

import signal
import time

import pytest

from django_dbq.models import Attempt, Job
from tests.faults.conftest import NOISE, states_of
from tests.processes.conftest import is_alive

pytestmark = pytest.mark.processes


def test_23_a_worker_that_is_told_to_stop_at_load_hands_back_at_once_what_it_has_not_begun(
    team, enqueue, runs, wait_for_run, go_on, all_is_well
):
    enqueue("note", 300, priority=2)  # quick ones first, so that it claims many at once
    (held,) = enqueue("hold", priority=1)
    rest = enqueue("note", 300)
    leaving = team.start()
    wait_for_run(held)
    leaving.signal(signal.SIGTERM)
    leaving.wait_until(lambda: state_of(held) == "STOPPING", "the running job was STOPPING")
    leaving.wait_until(
        lambda: not Job.objects.filter(state="PROCESSING").exists(), "the others were handed back"
    )
    assert set(Job.objects.filter(pk__in=rest).values_list("state", "attempts")) == {("NEW", 0)}
    go_on()

    assert leaving.exit_code() == 0
    assert state_of(held) == "COMPLETE"
    team.start()
    found = all_is_well()
    assert len(found.runs) == 601
    assert set(Job.objects.values_list("attempts", "crashes")) == {(1, 0)}


def test_23_after_its_grace_time_running_tasks_are_interrupted_and_their_jobs_cost_nothing(
    team, enqueue, wait_for_run, go_on, all_is_well
):
    held = enqueue("hold") + enqueue("hold_async", 50)
    leaving = team.start("--grace", 1, "--threads", 2, "--async-concurrency", 50)
    for job in held:
        wait_for_run(job)
    told_at = time.monotonic()
    leaving.signal(signal.SIGTERM)

    leaving.exit_code()
    assert time.monotonic() - told_at < (1 + 2) * NOISE
    assert "is killed" not in leaving.output  # nobody had to use force
    assert set(states_of(*held)) == {"READY"}
    team.start("--threads", 2, "--async-concurrency", 50)
    for job in held:
        wait_for_run(job, times=2)
    go_on()
    found = all_is_well()
    assert not found.duplicates
    assert set(Job.objects.values_list("attempts", "crashes")) == {(1, 0)}
    assert not Attempt.objects.exists()


def test_23_a_blocked_event_loop_is_ended_by_force_after_the_grace_time_and_no_job_pays_for_it(
    team, enqueue, runs, wait_for_run, go_on, all_is_well
):
    held = enqueue("hold_async", 20, priority=1)
    (blocking,) = enqueue("block", workspace={"seconds": 120})
    leaving = team.start("--grace", "1", "--async-concurrency", 21)
    for job in [*held, blocking]:
        wait_for_run(job)
    told_at = time.monotonic()
    leaving.signal(signal.SIGTERM)

    leaving.exit_code()
    assert time.monotonic() - told_at < (1 + 4) * NOISE
    assert set(states_of(*held, blocking)) == {"READY"}
    go_on()
    team.start("--async-concurrency", 21)
    all_is_well()
    assert set(Job.objects.values_list("attempts", "crashes")) == {(1, 0)}
    assert not Attempt.objects.exists()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow_faults),
        pytest.param(signal.SIGQUIT, marks=pytest.mark.slow_faults),
    ],
)
def test_24_a_second_signal_stops_at_once_and_the_jobs_cost_nothing(
    team, enqueue, wait_for_run, go_on, all_is_well, number
):
    held = enqueue("hold") + enqueue("hold_async", 20)
    leaving = team.start("--threads", 2, "--async-concurrency", 20)
    for job in held:
        first = wait_for_run(job)
    leaving.signal(number)
    told_at = time.monotonic()
    leaving.wait_until(lambda: set(states_of(*held)) == {"STOPPING"}, "all were STOPPING")
    leaving.wait_until(lambda: time.monotonic() - told_at > 1.1, "it was no echo of the first")
    leaving.signal(number)
    told_at = time.monotonic()

    assert leaving.exit_code() == 1
    assert time.monotonic() - told_at < 1 * NOISE
    assert not is_alive(first.pid)
    assert set(states_of(*held)) == {"READY"}
    go_on()
    team.start("--threads", 2, "--async-concurrency", 20)
    found = all_is_well()
    assert len(found.runs) == 2 * len(held)
    assert set(Job.objects.values_list("attempts", "crashes")) == {(1, 0)}


def state_of(job):
    return Job.objects.values_list("state", flat=True).get(pk=job)
