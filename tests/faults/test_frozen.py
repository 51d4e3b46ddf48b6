"""Scenario 4: a host that stands still for a while, and does not know it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from django_dbq.models import Job
from tests.faults.conftest import (
    FROZEN,
    NOISE,
    is_run_by,
    wait_for_workers,
    wait_until_it_may_judge,
)
from tests.faults.team import family

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("name", "lease"),
    [
        ("hold", 2),
        pytest.param("hold", 10, marks=pytest.mark.slow_faults),
        pytest.param("atomic_effect", 2, marks=pytest.mark.slow_faults),
    ],
)
def test_04_what_a_frozen_worker_says_of_jobs_that_others_have_taken_is_not_heard(
    team, enqueue, wait_for_run, go_on, all_is_well, database_kind, name, lease
):
    if name == "atomic_effect" and database_kind == "sqlite":
        pytest.skip("a frozen process in a transaction keeps SQLite's only lock")
    jobs = enqueue(name, workspace={"holds": True}) + enqueue("hold_async", 20)
    frozen = team.start("--threads", 2, "--async-concurrency", 20, dbq={"LEASE": lease})
    for job in jobs:
        first = wait_for_run(job)
    other = team.start("--threads", 2, "--async-concurrency", 20, dbq={"LEASE": lease})
    wait_for_workers(2, team)
    wait_until_it_may_judge(other, lease=lease)

    pids = family(frozen.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    silent_since = time.monotonic()
    seconds = [wait_for_run(job, times=2, seconds=FROZEN * NOISE) for job in jobs]
    assert seconds[0].started - silent_since < (FROZEN if lease == 10 else lease + 2) * NOISE
    assert all(is_run_by(other, second) for second in seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    go_on(first)  # the first claim of each
    frozen.wait_until(
        lambda: frozen.output.count("Job lost") == len(jobs) or not family(first.pid),
        "its outcomes were refused, or it left without a word",
    )
    tokens = Job.objects.filter(state="PROCESSING").values_list("token", flat=True)
    assert sorted(tokens) == sorted(second.token for second in seconds)
    go_on()

    found = all_is_well(may_overlap=True)
    assert len(found.runs) == 2 * len(jobs)
    assert set(Job.objects.values_list("attempts", flat=True)) == {1}
