"""Scenarios 27, 28: clocks that are wrong, the worker's and the database's."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection  # noqa: F401 (for skipif)
from django.utils import timezone

from django_dbq.engines import engine_for
from django_dbq.models import Job, WorkerProcess
from tests.compat.waiting import wait_until
from tests.faults.conftest import wait_for_workers, wait_until_it_may_judge

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="its clock is that of the host"),
]


@pytest.fixture
def faketime(program):
    """The variables that put a process's wall clock elsewhere; its monotonic one stays."""
    program("faketime", "faketime")
    library = next(Path("/usr/lib").rglob("libfaketimeMT.so.1"))
    return {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.mark.slow_faults
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_27_a_worker_whose_clock_is_wrong_runs_nothing_early_and_buries_nobody(
    team, enqueue, runs, wait_for_run, go_on, all_is_well, faketime, offset
):
    (held,) = enqueue("hold", priority=1)
    right = team.start()
    wait_for_run(held)
    (future,) = enqueue(run_after=timezone.now() + timedelta(minutes=30))
    wrong = team.start(**faketime, FAKETIME=offset)
    wait_for_workers(2, team)
    wait_until_it_may_judge(wrong)
    now = enqueue("note", 20)
    wait_until(lambda: all(map(runs, now)), "those that were due ran", story=team.story)

    assert right.runs
    assert len(runs(held)) == 1
    assert not runs(future)
    Job.objects.filter(pk=future).update(run_after=timezone.now())
    go_on()
    all_is_well()


@pytest.fixture
def server_with_a_clock(throw_away_server, faketime):
    """The throw-away server, under a clock that can be set; gives what sets it."""
    file = throw_away_server.directory / "clock"

    def set_clock(seconds):
        # Written aside and moved: a clock that is read half-written would jump by years.
        aside = file.with_suffix(".new")
        aside.write_text(f"{seconds:+d}")
        aside.chmod(0o644)
        aside.rename(file)

    set_clock(0)
    throw_away_server.end()
    throw_away_server.variables = {
        **faketime,
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
    }
    throw_away_server.start()
    yield set_clock
    throw_away_server.end()
    throw_away_server.variables = {}
    throw_away_server.start()


@pytest.mark.slow_faults
@pytest.mark.parametrize("step", [-10, -3600, 1, 3600], ids="{:+d}-seconds".format)
def test_28_the_database_s_clock_is_set_and_living_workers_keep_their_jobs(
    server_with_a_clock, server, team, enqueue, runs, wait_for_run, go_on, all_is_well, step
):
    (held,) = enqueue("hold", priority=1)
    team.start()
    wait_for_run(held)
    other = team.start()
    wait_for_workers(2, team)
    wait_until_it_may_judge(other)

    before = database_now()
    server_with_a_clock(step)
    assert abs((database_now() - before).total_seconds() - step) < 1
    wait_for_beats_longer_than_a_lease(team)
    now = enqueue("note", 20)
    wait_until(lambda: all(map(runs, now)), "those that were due ran", story=team.story)
    go_on()

    all_is_well(clock_is_sound=False)
    assert len(runs(held)) == 1
    assert all(member.runs for member in team.members), team.story()


def database_now():
    return engine_for("default").now()


def wait_for_beats_longer_than_a_lease(team, *, lease=2):
    """Until each worker has beaten for so long after a first beat on the new clock."""
    first = wait_until(
        lambda: (
            all(abs((database_now() - seen).total_seconds()) < 2 for seen in beats())
            and min(beats())
        ),
        "all had beaten on the new clock",
        story=team.story,
    )
    wait_until(
        lambda: all((seen - first).total_seconds() > lease * 1.5 for seen in beats()),
        "all had beaten for longer than a lease",
        story=team.story,
    )


def beats():
    return list(WorkerProcess.objects.values_list("last_seen", flat=True))
