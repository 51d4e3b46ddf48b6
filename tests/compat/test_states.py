"""C25 to C28: the states, and how a job moves through them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from django.db import connection

from django_dbq.models import Job
from tests.compat import functions
from tests.compat.functions import Broken, also_nothing, nothing

pytestmark = pytest.mark.django_db

NAMES = ["NEW", "READY", "PROCESSING", "STOPPING", "COMPLETE", "FAILED"]
STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]


def stored(job):
    """State and next task as they stand in the table."""
    return Job.objects.values_list("state", "next_task").get(pk=job.pk)


def state_of(job):
    return stored(job)[0]


# ── C25: their names ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_c25_each_state_is_stored_as_its_name(declare, name):
    declare("import", nothing)
    job = Job.objects.create(name="import")
    job.state = getattr(Job.STATES, name)
    job.save()

    with connection.cursor() as cursor:
        cursor.execute("SELECT state FROM django_dbq_job")
        assert list(cursor.fetchall()) == [(name,)]
    assert Job.objects.get(state=getattr(Job.STATES, name)) == job


@pytest.mark.parametrize("name", NAMES)
def test_c25_each_state_can_be_used_like_its_text(name):
    state = getattr(Job.STATES, name)

    assert state == name
    assert str(state) == name
    assert f"{state}" == name
    assert json.dumps(state) == f'"{name}"'
    assert {name: "found"}[state] == "found"
    assert name in dict(Job.STATES.choices)


def test_c25_completed_is_another_name_of_complete():
    assert Job.STATES.COMPLETED == Job.STATES.COMPLETE == "COMPLETE"


def test_c25_the_alias_is_not_a_seventh_choice():
    assert "COMPLETED" not in dict(Job.STATES.choices)
    assert list(Job.STATES.values).count("COMPLETE") == 1


def test_c25_a_new_job_is_new(declare):
    declare("import", nothing)

    assert Job(name="import").state == Job.STATES.NEW
    assert Job.objects.create(name="import").state == Job.STATES.NEW


# ── C26: the way through them ────────────────────────────────────────────────────────────────────


def test_c26_a_job_goes_from_new_over_ready_to_complete(declare, work):
    steps = []

    def look(job):
        steps.append(state_of(job))

    def look_again(job):
        look(job)

    def look_once_more(job):
        look(job)

    first, second, third = declare("import", look, look_again, look_once_more)["tasks"]
    job = Job.objects.create(name="import")

    steps.append(stored(job))
    for _ in range(3):
        work()
        steps.append(stored(job))

    assert steps == [
        ("NEW", first),
        "PROCESSING",
        ("READY", second),
        "PROCESSING",
        ("READY", third),
        "PROCESSING",
        ("COMPLETE", ""),
    ]


def test_c26_a_job_of_one_task_is_never_ready(declare, work):
    declare("import", nothing)
    job = Job.objects.create(name="import")

    work()

    assert stored(job) == ("COMPLETE", "")


def test_c26_a_task_finds_its_own_path_in_next_task(declare, work):
    seen = []

    def task(job):
        seen.append((job.state, job.next_task))

    entry = declare("import", nothing, task)
    Job.objects.create(name="import")

    work(2)

    assert seen == [("PROCESSING", entry["tasks"][1])]


def test_c26_a_complete_job_does_not_run_again(declare, work):
    ran = []

    def task(job):
        ran.append(job.pk)

    declare("import", task)
    job = Job.objects.create(name="import")

    work(5)

    assert ran == [job.pk]


def test_c26_after_a_restart_the_job_goes_on_where_it_was(
    declare, work, worker_process, folder, notes
):
    entry = declare("import", nothing, functions.note)
    job = Job.objects.create(name="import", workspace={"folder": str(folder)})
    work()
    assert stored(job) == ("READY", entry["tasks"][1])

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: state_of(job) == "COMPLETE", "the job was completed")

    assert [note["job"] for note in notes()] == [str(job.pk)]


# ── C27: failure ─────────────────────────────────────────────────────────────────────────────────


def test_c27_a_task_that_raises_fails_the_job(declare, work):
    ran = []

    def never(job):
        ran.append("never")

    declare("import", nothing, functions.break_down, never)
    job = Job.objects.create(name="import")

    work(5)

    assert state_of(job) == "FAILED"
    assert ran == []


def test_c27_a_failed_job_still_names_the_task_that_failed(declare, work):
    entry = declare("import", nothing, functions.break_down, also_nothing)
    job = Job.objects.create(name="import")

    work(5)

    assert stored(job) == ("FAILED", entry["tasks"][1])


def test_c27_a_failure_is_logged_with_its_traceback(declare, work, caplog):
    def unlucky_task(job):
        raise Broken("the printer is on fire")

    declare("import", unlucky_task)
    job = Job.objects.create(name="import")

    work()

    assert "Traceback" in caplog.text
    assert "in unlucky_task" in caplog.text
    assert "Broken: the printer is on fire" in caplog.text
    assert str(job.pk) in caplog.text
    assert any(record.levelname in ("ERROR", "CRITICAL") for record in caplog.records)


def test_c27_the_next_job_runs_after_one_that_failed(declare, work):
    declare("broken", functions.break_down)
    declare("sound", nothing)
    Job.objects.create(name="broken", priority=1)
    sound = Job.objects.create(name="sound")

    work(2)

    assert state_of(sound) == "COMPLETE"


def test_c27_a_worker_process_prints_the_traceback_and_goes_on(declare, worker_process):
    declare("broken", functions.break_down)
    declare("sound", nothing)
    broken = Job.objects.create(name="broken", priority=1)
    sound = Job.objects.create(name="sound")

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: state_of(sound) == "COMPLETE", "the other job was completed")

    assert state_of(broken) == "FAILED"
    assert process.runs
    assert "Traceback" in process.output
    assert "Broken: in the worker process" in process.output


# ── C28: told to exit ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def holding(declare, worker_process, folder):
    """Start a worker and wait until it is in the middle of a job of these tasks; one more waits."""

    def holding(*tasks):
        declare("held", *tasks)
        workspace = {"folder": str(folder)}
        running = Job.objects.create(name="held", workspace=workspace, priority=1)
        waiting = Job.objects.create(name="held", workspace=workspace)
        process = worker_process("--rate_limit", 0)
        begun = Path(folder, f"begun-{running.pk}")
        process.wait_until(begun.exists, "the first task began")
        return process, running, waiting

    return holding


def let_go(folder):
    """Let the tasks that hold go on."""
    Path(folder, "go-on").touch()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_c28_the_running_job_is_stopping_while_its_task_goes_on_and_then_complete(
    holding, folder, number
):
    process, running, waiting = holding(functions.hold)
    assert state_of(running) == "PROCESSING"

    process.signal(number)
    process.wait_until(lambda: state_of(running) == "STOPPING", "the job was marked STOPPING")
    assert process.runs
    let_go(folder)

    assert process.exit_code() == 0
    assert stored(running) == ("COMPLETE", "")
    assert Job.objects.get(pk=running.pk).workspace["held"] is True
    assert state_of(waiting) == "NEW"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_c28_a_job_with_a_task_left_is_ready_for_another_worker(holding, folder, number):
    process, running, waiting = holding(functions.hold, functions.note)

    process.signal(number)
    process.wait_until(lambda: state_of(running) == "STOPPING", "the job was marked STOPPING")
    let_go(folder)

    assert process.exit_code() == 0
    assert stored(running) == ("READY", "tests.compat.functions.note")
    assert state_of(waiting) == "NEW"


def test_c28_a_job_that_fails_while_its_worker_stops_is_failed(holding, folder):
    process, running, waiting = holding(functions.hold_and_break)

    process.signal(signal.SIGTERM)
    process.wait_until(lambda: state_of(running) == "STOPPING", "the job was marked STOPPING")
    let_go(folder)

    assert process.exit_code() == 0
    assert state_of(running) == "FAILED"
    assert Job.objects.get(pk=running.pk).workspace["held"] is True
    assert state_of(waiting) == "NEW"


def test_c28_ctrl_c_reaches_every_process_of_the_worker_and_is_one_request(holding, folder):
    """A terminal signals the whole group: whoever started a process must not pass it on twice."""
    process, running, waiting = holding(functions.hold)

    process.signal_group(signal.SIGINT)
    process.wait_until(lambda: state_of(running) == "STOPPING", "the job was marked STOPPING")
    let_go(folder)

    assert process.exit_code() == 0
    assert stored(running) == ("COMPLETE", "")
    assert state_of(waiting) == "NEW"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_c28_a_worker_without_a_job_exits_when_told_to(declare, worker_process, number):
    declare("import", nothing)
    job = Job.objects.create(name="import")
    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: state_of(job) == "COMPLETE", "the job was completed")

    process.signal(number)

    assert process.exit_code() == 0
