"""Workers delete finished jobs: one of them at a time, and only if they are told to."""

from __future__ import annotations

import json
import os
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from django_dbq.models import Attempt, Job
from django_dbq.rules.identifiers import first_id_of
from django_dbq.rules.states import State
from tests.compat.waiting import wait_until
from tests.processes.conftest import is_alive, wait_for_end, workers

pytestmark = pytest.mark.processes

A_DAY = json.dumps(86_400)


@pytest.fixture
def finished(transactional_db):
    """Insert so many jobs that came to their end two days ago."""

    def finished(count, state=State.COMPLETE, name="note"):
        moment = datetime.now(timezone.utc) - timedelta(days=2)
        first = Job.objects.count()
        Job.objects.bulk_create(
            Job(
                id=UUID(int=first_id_of(moment).int + first + number),
                name=name,
                next_task="tests.processes.tasks.note",
                state=state,
                workspace={},
                finished_at=moment,
            )
            for number in range(count)
        )

    return finished


def children_of(process):
    """The process ids of its workers and its housekeeper."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(word) for word in text.split()]


def two_children_of(process):
    """The process ids of its housekeeper, which is started first, and of its worker."""
    process.wait_until(lambda: len(children_of(process)) == 2, "it had two processes")
    return sorted(children_of(process))


def wait_until_gone(*processes, left=0):
    wait_until(
        lambda: Job.objects.count() == left,
        "the finished jobs were deleted",
        story=lambda: "\n".join(one.output[-3_000:] for one in processes),
    )


@pytest.mark.parametrize("processes", [1, 0])
def test_a_worker_deletes_what_has_been_kept_for_long_enough_and_goes_on_working(
    start, finished, enqueue, processes
):
    finished(300)
    finished(3, State.FAILED)
    retention = json.dumps({"COMPLETE": 86_400, "FAILED": None})
    worker = start("--processes", processes, DBQ_TEST_RETENTION=retention)
    wait_until_gone(worker, left=3)
    enqueue("note", 5)
    wait_for_end(5, worker)

    worker.wait_until(lambda: "because of their age: 300." in worker.output, "it told so")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    assert "Traceback" not in worker.output


def test_without_a_retention_nothing_is_deleted_and_no_process_is_there_for_it(
    start, finished, enqueue
):
    finished(3)
    worker = start()
    enqueue("note", 5)
    wait_for_end(8, worker)

    assert len(children_of(worker)) == 1
    assert Job.objects.count() == 8


def test_of_two_workers_the_elder_deletes_and_when_it_leaves_the_other(start, finished):
    elder = start(DBQ_TEST_RETENTION=A_DAY)
    elder.wait_until(workers, "the first worker was there")
    younger = start(DBQ_TEST_RETENTION=A_DAY)
    younger.wait_until(lambda: len(workers()) == 2, "the second worker was there")
    finished(100)
    elder.signal(signal.SIGTERM)
    assert elder.exit_code() == 0
    wait_until_gone(younger)

    younger.wait_until(lambda: "because of their age: 100." in younger.output, "it told so")
    assert "because of their age" not in elder.output


def test_of_two_workers_the_younger_stands_by(start, finished):
    finished(3_000)
    elder = start(DBQ_TEST_RETENTION=A_DAY)
    elder.wait_until(workers, "the first worker was there")
    younger = start(DBQ_TEST_RETENTION=A_DAY)
    wait_until_gone(elder, younger)
    elder.wait_until(lambda: "because of their age: 3000." in elder.output, "it told so")
    younger.signal(signal.SIGTERM)
    assert younger.exit_code() == 0

    assert "because of their age" not in younger.output


def test_a_housekeeper_that_dies_is_replaced_and_no_job_runs_twice(
    start, finished, enqueue, times_run
):
    worker = start(DBQ_TEST_RETENTION=A_DAY)
    worker.wait_until(workers, "the worker was there")
    housekeeper, _ = two_children_of(worker)
    os.kill(housekeeper, signal.SIGKILL)
    finished(100)
    jobs = enqueue("note_slowly", 500)
    wait_until_gone(worker, left=500)
    wait_for_end(500, worker)

    assert "is gone (killed by signal SIGKILL)" in worker.output
    assert times_run() == dict.fromkeys(jobs, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_housekeeper_ends_with_its_supervisor(start, transactional_db, number):
    worker = start(DBQ_TEST_RETENTION=A_DAY)
    worker.wait_until(workers, "the worker was there")
    children = two_children_of(worker)
    if number == signal.SIGKILL:
        worker.signal(number)
    else:
        worker.signal_group(number)  # as a terminal does
    worker.exit_code()

    worker.wait_until(lambda: not any(map(is_alive, children)), "its processes ended")
    assert "Traceback" not in worker.output
    assert "is gone (" not in worker.output


def test_stories_go_with_their_jobs(start, finished):
    finished(1, State.FAILED)
    now = datetime.now(timezone.utc)
    facts = {"number": 1, "started_at": now, "finished_at": now}
    Attempt.objects.create(job_id=Job.objects.get().pk, job_name="note", task="t", **facts)
    worker = start(DBQ_TEST_RETENTION=A_DAY)
    wait_until_gone(worker)

    assert not Attempt.objects.exists()
