"""`manage.py worker '*'`: one worker for every queue, those included that appear while it works."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from django_dbq.models import Job
from django_dbq.rules.states import State
from tests.compat.rows import insert_row
from tests.processes.conftest import states, wait_for_end

pytestmark = pytest.mark.processes


@pytest.fixture
def sleeper(start_sleeper):
    """A worker of every queue that has run a job, and has been idle since."""
    return start_sleeper("*", queue_name="first")


def queues(ran):
    return [queue for _, _, queue in ran()]


def test_a_sleeping_worker_of_every_queue_is_woken_by_a_job_of_a_new_one(sleeper, enqueue, ran):
    for number in range(2, 8):
        enqueue("note", queue_name=f"new-{number}")
        wait_for_end(number, sleeper)

    assert queues(ran) == ["first", *(f"new-{number}" for number in range(2, 8))]


def test_a_sleeping_worker_of_every_queue_wakes_for_a_scheduled_job_of_an_unknown_one(
    sleeper, enqueue
):
    run_after = datetime.now(timezone.utc) + timedelta(seconds=0.8)
    enqueue("note", queue_name="scheduled", run_after=run_after)
    wait_for_end(2, sleeper)

    job = Job.objects.get(queue_name="scheduled")
    assert timedelta(0) <= job.started_at - run_after < timedelta(seconds=10)


def test_a_worker_of_every_queue_finds_what_raw_sql_has_put_into_a_new_one(
    start, enqueue, tmp_path
):
    enqueue("note")
    worker = start("*")
    wait_for_end(1, worker)
    soon = datetime.now(timezone.utc) + timedelta(seconds=0.2)
    for queue_name, run_after in (("raw", None), ("raw-scheduled", soon)):
        insert_row(
            name="note",
            next_task="tests.processes.tasks.note",
            queue_name=queue_name,
            run_after=run_after,
            workspace={"folder": str(tmp_path)},
        )

    wait_for_end(3, worker)


def test_two_queues_with_a_backlog_share_a_worker_by_the_age_of_their_jobs(start, enqueue, ran):
    for _ in range(20):
        enqueue("note_slowly", 10, queue_name="one")  # so that few of them are taken at a time
        enqueue("note_slowly", 10, queue_name="two")
    assert start("*", "--burst").exit_code() == 0

    assert Counter(queues(ran)) == {"one": 200, "two": 200}
    assert Counter(queues(ran)[:200]).keys() == {"one", "two"}


def test_priority_counts_across_queues(start, enqueue, ran):
    enqueue("note", 3, queue_name="a")
    enqueue("note", 3, queue_name="b", priority=2)
    enqueue("note", 3, queue_name="c", priority=1)
    assert start("*", "--burst").exit_code() == 0

    assert queues(ran) == ["b"] * 3 + ["c"] * 3 + ["a"] * 3


def test_an_urgent_job_of_a_new_queue_comes_before_a_backlog(start, enqueue, ran):
    enqueue("note_slowly", 4_000, queue_name="backlog")  # for longer than until it asks again
    worker = start("*")
    worker.wait_until(lambda: queues(ran), "the first job ran")
    enqueue("note", queue_name="urgent", priority=9)

    worker.wait_until(lambda: "urgent" in queues(ran), "the urgent job ran")
    assert states()[State.NEW]


def test_a_burst_of_every_queue_ends_when_no_job_of_any_is_due(start, enqueue, ran):
    for number in range(30):
        enqueue("note", queue_name=f"queue-{number}")
    enqueue("note", queue_name="later", run_after=datetime(2200, 1, 1, tzinfo=timezone.utc))
    worker = start("*", "--burst", "--threads", 3)
    assert worker.exit_code() == 0

    assert len(ran()) == 30
    assert states() == {State.COMPLETE: 30, State.NEW: 1}
    assert "Starting job worker for every queue without a rate limit" in worker.output


def test_of_two_workers_of_every_queue_and_one_of_a_name_no_two_run_the_same_job(
    start, enqueue, times_run
):
    jobs = []
    for number in range(40):
        jobs += enqueue("note_slowly", 30, queue_name=f"queue-{number % 8}")
    workers = [start("*", "--processes", 2, "--threads", 2), start("queue-3")]
    wait_for_end(1_200, *workers)

    assert times_run() == dict.fromkeys(jobs, 1)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_worker_of_every_queue_serves_them_on_the_database_that_it_is_given(start, enqueue, ran):
    enqueue("note", queue_name="elsewhere", using="other")
    assert start("*", "--burst", "--database", "other").exit_code() == 0

    assert queues(ran) == ["elsewhere"]


def test_every_queue_beside_names_is_refused(start):
    worker = start("*", "mail")

    assert worker.exit_code() == 1
    assert "queue_name must be names, or '*' alone for all, not * mail." in worker.output


def test_a_worker_tells_of_queues_with_jobs_that_no_live_worker_serves(start, enqueue):
    enqueue(queue_name="reports")
    enqueue(queue_name="default")
    enqueue(queue_name="mail")
    worker = start("--burst")

    assert worker.exit_code() == 0
    assert "no live worker serves: mail, reports." in worker.output


def test_where_every_queue_is_served_a_worker_tells_of_none(start, enqueue):
    enqueue(queue_name="reports")

    worker = start("*", "--burst")
    assert worker.exit_code() == 0
    assert "no live worker serves" not in worker.output
