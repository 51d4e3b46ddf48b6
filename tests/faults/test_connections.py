"""Scenarios 7, 9, 10, 11, 35: what lies between the workers and their database."""

from __future__ import annotations

import time

import pytest
from django.db import connection

from django_dbq.models import Attempt, Job, WorkerProcess
from tests import databases
from tests.compat.waiting import wait_until
from tests.faults.conftest import (
    FROZEN,
    NOISE,
    is_run_by,
    states_of,
    wait_for_workers,
    wait_until_it_may_judge,
)
from tests.faults.team import family
from tests.pgbouncer import pgbouncer
from tests.processes.test_together import end_other_sessions

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has no connections to cut"),
]

ADDRESS = ("HOST", "PORT", "OPTIONS")

# Words of the statement whose answer is lost.
LOST_ANSWERS = {
    "claim": {"postgresql": b"SKIP LOCKED", "mysql": b"SKIP LOCKED"},
    "commit": {"postgresql": b"COMMIT", "mysql": b"COMMIT"},
    "acknowledgement": {"postgresql": b"unnest(", "mysql": b"'COMPLETE'"},
}


@pytest.mark.parametrize("answer", LOST_ANSWERS)
def test_07_the_answer_to_a_statement_that_was_perhaps_committed_is_lost(
    team, enqueue, proxy, all_is_well, answer
):
    team.start("--threads", 2, "--async-concurrency", 50)
    wait_for_workers(1, team)  # one that finds no database when it starts gives up
    proxy.cut_replies_to(LOST_ANSWERS[answer][connection.vendor], times=2)
    for name in ("steps", "steps_async", "atomic_effect"):
        enqueue(name, 50)

    found = all_is_well()
    assert proxy.cuts == 2
    # Of no task that is not atomic was anything lost but an answer, so that none ran again.
    doubled = Job.objects.filter(pk__in=found.duplicates).values_list("name", flat=True)
    assert set(doubled) <= {"atomic_effect"}


def test_07_what_an_exchange_has_claimed_goes_back_when_its_answer_is_lost(
    team, enqueue, proxy, all_is_well
):
    team.start()
    wait_for_workers(1, team)
    proxy.cut_replies_to(b"COMMIT", times=1 if connection.vendor == "postgresql" else 2)
    enqueue("note", 200)

    found = all_is_well(seconds=10)  # and not at the next look at the clock
    assert proxy.cuts
    assert not found.duplicates


def test_09_sessions_are_ended_again_and_again(team, enqueue, all_is_well, runs, go_on):
    team.start("--threads", 2, "--async-concurrency", 250)
    team.start("--async-concurrency", 250)
    wait_for_workers(2, team)  # one that finds no database when it starts gives up
    held = enqueue("hold_async", 300, priority=1)
    asking = enqueue("ask_async", 20, workspace={"times": 40, "seconds": 0.05})
    wait_until(lambda: len(runs()) == 320, "all of these ran", story=team.story)
    enqueue("steps", 100)
    enqueue("atomic_effect", 50)
    ended = 0
    for done in (340, 400, 460, 520):
        wait_until(lambda: len(runs()) >= done, f"{done} had run", story=team.story)  # noqa: B023
        ended += end_other_sessions()
    # The one connection of all async tasks of a process was cut, too: meanwhile they get another.
    wait_until(
        lambda: set(states_of(*asking)) == {"COMPLETE"},
        "those that ask were done",
        story=team.story,
    )
    assert Attempt.objects.filter(job_id__in=asking).exists()
    go_on()

    found = all_is_well()
    assert ended
    assert all(member.runs for member in team.members), team.story()
    doubled = Job.objects.filter(pk__in=found.duplicates).values_list("name", flat=True)
    assert set(doubled) <= {"atomic_effect"}
    assert len([run for run in found.runs if run.job in held]) == len(held)


@pytest.mark.slow_faults
def test_09_a_running_job_stays_with_its_worker_when_its_sessions_are_ended(
    team, enqueue, runs, wait_for_run, go_on, all_is_well
):
    (job,) = enqueue("hold")
    team.start()
    first = wait_for_run(job)
    other = team.start()
    wait_for_workers(2, team)
    wait_until_it_may_judge(other)
    for _ in range(3):
        assert end_other_sessions()
        beaten_at = max(WorkerProcess.objects.values_list("last_seen", flat=True))
        wait_until(
            lambda: all(w.last_seen > beaten_at for w in WorkerProcess.objects.all()),  # noqa: B023
            "both workers had beaten again",
            story=team.story,
        )
    go_on()

    all_is_well()
    assert [run.pid for run in runs(job)] == [first.pid]
    assert Job.objects.get().crashes == 0


@pytest.mark.parametrize(
    "lease",
    [pytest.param(lease, marks=pytest.mark.slow_faults) for lease in (2, 10)],
    ids="lease-{}".format,
)
def test_10_behind_a_black_hole_a_worker_loses_its_jobs_to_others_and_comes_back_by_itself(
    team, enqueue, proxy, runs, wait_for_run, go_on, all_is_well, lease
):
    (job,) = enqueue("hold")
    cut_off = team.start(dbq={"LEASE": lease})
    first = wait_for_run(job)
    other = team.start(dbq={"LEASE": lease}, database=direct())
    wait_for_workers(2, team)
    wait_until_it_may_judge(other, lease=lease)

    proxy.blackhole()
    silent_since = time.monotonic()
    second = wait_for_run(job, times=2, seconds=FROZEN * NOISE)
    assert second.started - silent_since < (FROZEN if lease == 10 else lease + 2) * NOISE
    assert is_run_by(other, second)
    go_on(first)
    wait_until(lambda: runs(job)[0].ended, "the first run was over", story=team.story)
    proxy.forward()
    wait_until(
        lambda: "Job lost" in cut_off.output or not family(first.pid),
        "its outcome was refused, or it left without a word",
        story=team.story,
    )
    assert Job.objects.values_list("state", "token").get() == ("PROCESSING", second.token)
    go_on()
    other.signal(15)
    enqueue("note", 5)

    found = all_is_well(may_overlap=True)
    assert found.overlaps == 1
    assert {run.pid for run in runs() if run.task == "note"} <= {first.pid, *family(cut_off.pid)}


@pytest.mark.slow_faults
def test_10_a_connection_that_stays_silent_hangs_nobody_for_longer_than_fifteen_seconds(
    team, enqueue, proxy, runs, all_is_well
):
    """The connections behind the black hole never speak again; new ones are not hindered."""
    enqueue("note", 5)
    team.start()
    wait_until(lambda: len(runs()) == 5, "the jobs ran", story=team.story)
    proxy.blackhole_present()
    lost_at = time.monotonic()
    (job,) = enqueue("note")
    wait_until(lambda: runs(job), "a job ran again", seconds=60, story=team.story)

    assert runs(job)[0].started - lost_at < 15 * NOISE
    all_is_well()


@pytest.mark.slow_faults
def test_11_five_seconds_of_latency_cost_no_worker_its_jobs(
    team, enqueue, proxy, runs, wait_for_run, go_on, all_is_well
):
    # Two fifths of the default lease, as five seconds are of it by one heartbeat there and back.
    (job,) = enqueue("hold")
    slow = team.start(dbq={"LEASE": 4})
    first = wait_for_run(job)
    other = team.start(dbq={"LEASE": 4}, database=direct())
    wait_for_workers(2, team)
    wait_until_it_may_judge(other, lease=4)

    before = worker_of(slow).last_seen
    proxy.delay_seconds = 0.5
    wait_until(
        lambda: (worker_of(slow).last_seen - before).total_seconds() > 6,
        "it had beaten for longer than a lease",
        story=team.story,
    )
    proxy.delay_seconds = 0
    go_on()

    all_is_well()
    assert [run.pid for run in runs(job)] == [first.pid]


def worker_of(member):
    return next(w for w in WorkerProcess.objects.all() if w.pid in family(member.pid))


def direct():
    """What leads a worker past the proxy."""
    settings = connection.settings_dict
    return {name: settings[name] for name in ADDRESS}


@pytest.fixture
def bouncer(team, program):
    """PgBouncer in transaction mode between the workers of this test and the database."""
    if connection.vendor != "postgresql":
        pytest.skip("PgBouncer speaks PostgreSQL's protocol")
    program("pgbouncer", "pgbouncer")
    with pgbouncer() as url:
        entry = databases.django_server("postgresql", url)
        team.database = {name: entry[name] for name in ADDRESS}
        yield


@pytest.mark.slow_faults
def test_35_behind_pgbouncer_in_transaction_mode_jobs_run_and_dead_workers_are_found(
    team, enqueue, bouncer, wait_for_run, go_on, all_is_well
):
    (held,) = enqueue("hold", priority=1)
    enqueue("steps", 100)
    enqueue("atomic_effect", 30)
    enqueue("flaky", 10)
    enqueue("ask_async", 50)
    doomed = team.start("--threads", 2, "--async-concurrency", 20)
    first = wait_for_run(held)
    other = team.start("--threads", 2, "--async-concurrency", 20)
    wait_for_workers(2, team)
    wait_until_it_may_judge(other)
    killed_at = team.kill_group(doomed)
    second = wait_for_run(held, times=2)
    go_on()

    all_is_well()
    assert second.pid != first.pid
    assert second.started - killed_at < (2 + 2) * NOISE  # by the lease, where no lock is to be had
