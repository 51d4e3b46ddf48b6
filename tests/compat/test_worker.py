"""C29 to C32: the command `manage.py worker`."""

from __future__ import annotations

import io
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from django.core.management import call_command

from django_dbq.models import Job
from tests.compat import functions
from tests.compat.functions import nothing

pytestmark = pytest.mark.django_db

# Two clocks are read for one gap: the worker's, which decides, and the task's, which is noted.
CLOCK_TOLERANCE_SECONDS = 0.05


def state_of(job):
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


def first_line(output):
    return output.splitlines()[0] if output else ""


@pytest.fixture
def noted(declare, folder):
    """Enqueue jobs that note when and where they ran."""
    declare("noted", functions.note)

    def noted(count, **fields):
        return [
            Job.objects.create(name="noted", workspace={"folder": str(folder)}, **fields)
            for _ in range(count)
        ]

    return noted


def gaps(notes):
    """The seconds between each job and the next."""
    times = [note["time"] for note in notes]
    return [later - earlier for earlier, later in zip(times, times[1:])]


# ── C29: how it is called, and how long it runs ──────────────────────────────────────────────────


def test_c29_it_says_at_start_which_queue_and_which_rate_limit_it_serves(worker_process):
    process = worker_process("mail", "--rate_limit", 7)
    process.wait_until(lambda: "\n" in process.output, "the worker said something")

    assert re.search(r"\bmail\b.*\b7\b", first_line(process.output))


def test_c29_the_queue_defaults_to_default_and_the_rate_limit_to_1(worker_process):
    process = worker_process()
    process.wait_until(lambda: "\n" in process.output, "the worker said something")

    assert re.search(r"\bdefault\b.*\b1\b", first_line(process.output))


def test_c29_it_runs_until_it_is_told_to_stop(noted, worker_process, notes):
    (first,) = noted(1)
    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: state_of(first) == "COMPLETE", "the first job was completed")

    # The queue is empty now; a worker that had ended for that would not run another job.
    (second,) = noted(1)
    process.wait_until(lambda: state_of(second) == "COMPLETE", "the second job was completed")
    assert process.runs
    assert len({note["pid"] for note in notes()}) == 1

    process.signal(signal.SIGTERM)
    assert process.exit_code() == 0


def test_c29_it_waits_for_jobs_that_are_not_there_yet(noted, worker_process):
    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: "\n" in process.output, "the worker said something")

    (job,) = noted(1)

    process.wait_until(lambda: state_of(job) == "COMPLETE", "the job was completed")


def test_c29_it_serves_the_queue_that_it_is_given(noted, worker_process):
    (job,) = noted(1, queue_name="mail")

    process = worker_process("mail")

    process.wait_until(lambda: state_of(job) == "COMPLETE", "the job was completed")


def test_c29_a_negative_rate_limit_is_refused(worker_process):
    process = worker_process("--rate_limit", -1)

    assert process.exit_code() != 0
    assert "rate_limit" in process.output
    assert "Traceback" not in process.output


# ── C30: the rate limit ──────────────────────────────────────────────────────────────────────────


def test_c30_by_default_a_second_passes_between_one_job_and_the_next(noted, worker_process, notes):
    noted(3)

    process = worker_process()
    process.wait_until(lambda: len(notes()) == 3, "all jobs ran")

    assert min(gaps(notes())) >= 1 - CLOCK_TOLERANCE_SECONDS


def test_c30_the_rate_limit_is_kept(noted, worker_process, notes):
    noted(2)

    process = worker_process("--rate_limit", 3)
    process.wait_until(lambda: len(notes()) == 2, "both jobs ran")

    assert min(gaps(notes())) >= 3 - CLOCK_TOLERANCE_SECONDS


def test_c30_the_rate_limit_may_be_written_with_an_equals_sign(noted, worker_process, notes):
    noted(2)

    process = worker_process("default", "--rate_limit=2")
    process.wait_until(lambda: len(notes()) == 2, "both jobs ran")

    assert min(gaps(notes())) >= 2 - CLOCK_TOLERANCE_SECONDS


def test_c30_the_rate_limit_may_be_a_fraction(noted, worker_process, notes):
    noted(5)

    process = worker_process("--rate_limit", 0.4)
    process.wait_until(lambda: len(notes()) == 5, "all jobs ran")

    assert min(gaps(notes())) >= 0.4 - CLOCK_TOLERANCE_SECONDS
    # Rounded up to a second it would have taken four of them.
    assert sum(gaps(notes())) < 4


def test_c30_zero_means_no_limit(noted, worker_process, notes):
    noted(30)

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: len(notes()) == 30, "all jobs ran")

    # One a second would be 29.
    assert sum(gaps(notes())) < 10


def test_c30_the_project_has_a_default_of_its_own(noted, worker_process, notes, settings):
    settings.DBQ = {"RATE_LIMIT": 0}
    noted(30)

    process = worker_process()
    process.wait_until(lambda: len(notes()) == 30, "all jobs ran")

    assert sum(gaps(notes())) < 10


def test_c30_the_projects_default_may_be_slower_than_33s(noted, worker_process, notes, settings):
    settings.DBQ = {"RATE_LIMIT": 2}
    noted(2)

    process = worker_process()
    process.wait_until(lambda: len(notes()) == 2, "both jobs ran")

    assert min(gaps(notes())) >= 2 - CLOCK_TOLERANCE_SECONDS


def test_c30_the_command_line_overrides_the_projects_default(
    noted, worker_process, notes, settings
):
    settings.DBQ = {"RATE_LIMIT": 60}
    noted(10)

    process = worker_process("--rate_limit", 0)

    process.wait_until(lambda: len(notes()) == 10, "all jobs ran")


# ── C31: many workers ────────────────────────────────────────────────────────────────────────────


def test_c31_each_job_is_run_by_one_of_many_workers(noted, worker_process, notes):
    jobs = noted(60)

    workers = [worker_process("--rate_limit", 0) for _ in range(3)]
    workers[0].wait_until(
        lambda: Job.objects.filter(state="COMPLETE").count() == 60, "all jobs were completed"
    )

    ran = Counter(note["job"] for note in notes())
    assert ran == {str(job.pk): 1 for job in jobs}


def test_c31_workers_run_jobs_at_the_same_time(declare, worker_process, folder, notes):
    declare("held", functions.hold)
    jobs = [Job.objects.create(name="held", workspace={"folder": str(folder)}) for _ in range(2)]

    workers = [worker_process("--rate_limit", 0) for _ in range(2)]
    workers[0].wait_until(
        lambda: all(Path(folder, f"begun-{job.pk}").exists() for job in jobs), "both jobs began"
    )
    assert set(map(state_of, jobs)) == {"PROCESSING"}
    Path(folder, "go-on").touch()
    workers[0].wait_until(lambda: set(map(state_of, jobs)) == {"COMPLETE"}, "both were completed")

    pids = {note["job"]: note["pid"] for note in notes()}
    assert len(notes()) == 2
    assert len(set(pids.values())) == 2


def test_c31_a_job_that_one_worker_runs_is_not_given_to_another(
    declare, worker_process, folder, notes
):
    declare("held", functions.hold)
    declare("other", functions.note)
    workspace = {"folder": str(folder)}
    held = Job.objects.create(name="held", workspace=workspace, priority=9)
    first = worker_process("--rate_limit", 0)
    first.wait_until(Path(folder, f"begun-{held.pk}").exists, "the job began")

    # The second worker would take the held job first: its priority is the highest.
    other = Job.objects.create(name="other", workspace=workspace)
    second = worker_process("--rate_limit", 0)
    second.wait_until(lambda: state_of(other) == "COMPLETE", "the other job was completed")

    assert state_of(held) == "PROCESSING"
    assert [note["job"] for note in notes()] == [str(held.pk), str(other.pk)]


# ── C32: a dry run ───────────────────────────────────────────────────────────────────────────────


def test_c32_a_dry_run_prints_the_start_line_and_returns():
    out = io.StringIO()

    call_command("worker", dry_run=True, stdout=out)

    assert re.search(r"\bdefault\b.*\b1\b", out.getvalue())
    assert len(out.getvalue().splitlines()) == 1


def test_c32_a_dry_run_names_the_queue_and_the_rate_limit_it_was_given():
    out = io.StringIO()

    call_command("worker", "mail", rate_limit=7, dry_run=True, stdout=out)

    assert re.search(r"\bmail\b.*\b7\b", out.getvalue())


def test_c32_a_dry_run_runs_no_job(declare):
    declare("import", nothing)
    job = Job.objects.create(name="import")

    call_command("worker", dry_run=True, stdout=io.StringIO())

    assert state_of(job) == "NEW"


def test_c32_the_line_is_the_one_that_a_worker_prints(worker_process):
    out = io.StringIO()
    call_command("worker", "mail", rate_limit=7, dry_run=True, stdout=out)

    process = worker_process("mail", "--rate_limit", 7)
    process.wait_until(lambda: "\n" in process.output, "the worker said something")

    assert first_line(process.output) == first_line(out.getvalue())
