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
def test_04_what_a_frozen_worker_says_of_a_job_that_others_have_taken_is_not_heard(
    team, enqueue, runs, wait_for_run, go_on, all_is_well, database_kind, name, lease
):
    if name == "atomic_effect" and database_kind == "sqlite":
        pytest.skip("a frozen process in a transaction keeps SQLite's only lock")
    (job,) = enqueue(name, workspace={"holds": True})
    frozen = team.start(dbq={"LEASE": lease})
    first = wait_for_run(job)
    other = team.start(dbq={"LEASE": lease})
    wait_for_workers(2, team)
    wait_until_it_may_judge(other, lease=lease)

    pids = family(frozen.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    silent_since = time.monotonic()
    second = wait_for_run(job, times=2, seconds=FROZEN * NOISE)
    assert second.started - silent_since < (FROZEN if lease == 10 else lease + 2) * NOISE
    assert is_run_by(other, second)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    go_on(first)
    frozen.wait_until(
        lambda: "Job lost" in frozen.output or not family(first.pid),
        "its outcome was refused, or it left without a word",
    )
    assert Job.objects.values_list("state", "token").get() == ("PROCESSING", second.token)
    go_on()

    found = all_is_well(may_overlap=True)
    assert len(found.runs) == 2
    assert Job.objects.get().attempts == 1
