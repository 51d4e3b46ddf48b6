"""C20 to C22: which job is next."""

from __future__ import annotations

import signal
from datetime import timedelta
from unittest import mock

import pytest
from django.utils import timezone

from django_dbq.models import Job
from tests.compat import functions

pytestmark = pytest.mark.django_db


@pytest.fixture
def ran():
    """The labels of the jobs that ran, in order."""
    return []


@pytest.fixture
def job(declare, ran):
    """Make a job whose only task adds its label to `ran`; it was created so many minutes ago."""

    def add_label(job):
        ran.append(job.workspace["label"])

    declare("one", add_label)

    def job(label, *, minutes_ago=0, name="one", **fields):
        created = timezone.now() - timedelta(minutes=minutes_ago)
        # At creation and not by an update: the clock is all that creation goes by.
        with mock.patch("django.utils.timezone.now", return_value=created):
            return Job.objects.create(name=name, workspace={"label": label}, **fields)

    return job


def at(moment):
    """Make it that time, as time-travelling test libraries do."""
    return mock.patch("django.utils.timezone.now", return_value=moment)


# ── C20: by priority, then by age ────────────────────────────────────────────────────────────────


def test_c20_jobs_of_one_priority_run_oldest_first(job, ran, work):
    job("second", minutes_ago=2)
    job("third", minutes_ago=1)
    job("first", minutes_ago=3)

    work(3)

    assert ran == ["first", "second", "third"]


def test_c20_a_higher_priority_runs_first_and_a_negative_one_last(job, ran, work):
    job("low", priority=-1, minutes_ago=9)
    job("lowest", priority=-100, minutes_ago=8)
    job("normal", minutes_ago=7)
    job("high", priority=1, minutes_ago=6)
    job("highest", priority=100, minutes_ago=5)

    work(5)

    assert ran == ["highest", "high", "normal", "low", "lowest"]


def test_c20_age_decides_only_within_a_priority(job, ran, work):
    job("high and young", priority=5, minutes_ago=1)
    job("normal and young", minutes_ago=2)
    job("high and old", priority=5, minutes_ago=3)
    job("normal and old", minutes_ago=4)

    work(4)

    assert ran == ["high and old", "high and young", "normal and old", "normal and young"]


def test_c20_jobs_inserted_in_bulk_have_no_other_order(job, ran, work):
    jobs = [
        Job(name="one", workspace={"label": str(priority)}, priority=priority)
        for priority in (2, 5, -3, 0, 4)
    ]
    Job.objects.bulk_create(jobs)
    job("3", priority=3)

    work(6)

    assert ran == ["5", "4", "3", "2", "0", "-3"]


def test_c20_jobs_run_in_the_order_in_which_they_were_created(declare, ran, work):
    """Many in a row, with the clock as it is: the way most jobs come in."""

    def add_label(job):
        ran.append(job.workspace["label"])

    declare("one", add_label)
    for label in range(20):
        Job.objects.create(name="one", workspace={"label": label})

    work(20)

    assert ran == list(range(20))


def test_c20_the_models_default_ordering_is_the_same(job):
    job("second", minutes_ago=2)
    job("last", priority=-1, minutes_ago=9)
    job("first", priority=1)
    job("third", minutes_ago=1)

    labels = [job.workspace["label"] for job in Job.objects.all()]

    assert labels == ["first", "second", "third", "last"]
    assert list(Job._meta.ordering) == ["-priority", "created"]


def test_c20_a_priority_that_was_changed_while_the_job_waits_counts(job, ran, work):
    job("first", minutes_ago=2)
    late = job("promoted", minutes_ago=1)
    Job.objects.filter(pk=late.pk).update(priority=1)

    work(2)

    assert ran == ["promoted", "first"]


def test_c20_a_worker_process_keeps_the_order(declare, worker_process, folder, notes):
    declare("noted", functions.note)
    for label, priority in (("c", 0), ("e", -1), ("a", 2), ("d", 0), ("b", 1)):
        workspace = {"label": label, "folder": str(folder)}
        Job.objects.create(name="noted", workspace=workspace, priority=priority)

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: len(notes()) == 5, "all jobs ran")

    assert [note["label"] for note in notes()] == ["a", "b", "c", "d", "e"]


# ── C21: not before its time ─────────────────────────────────────────────────────────────────────


def test_c21_a_job_with_a_future_run_after_waits(job, ran, work):
    future = job("later", run_after=timezone.now() + timedelta(minutes=5))

    work(3)

    assert ran == []
    future.refresh_from_db()
    assert future.state == "NEW"


def test_c21_a_job_runs_at_its_time(job, ran, work):
    due = timezone.now() + timedelta(hours=5)
    job("later", run_after=due)

    with at(due - timedelta(seconds=1)):
        work()
    assert ran == []
    with at(due + timedelta(seconds=1)):
        work()

    assert ran == ["later"]


def test_c21_a_job_whose_time_passed_while_no_worker_ran_runs_at_the_next_chance(job, ran, work):
    job("missed", run_after=timezone.now() - timedelta(days=3), minutes_ago=6000)

    work()

    assert ran == ["missed"]


def test_c21_a_future_job_does_not_stand_in_the_way(job, ran, work):
    job("later", priority=100, minutes_ago=60, run_after=timezone.now() + timedelta(minutes=5))
    job("now")

    work(2)

    assert ran == ["now"]


def test_c21_a_due_job_takes_its_place_by_priority_and_created(job, ran, work):
    now = timezone.now()
    job("old", minutes_ago=10, run_after=now - timedelta(minutes=1))
    job("middle", minutes_ago=5)
    job("young", minutes_ago=2, run_after=now - timedelta(minutes=1, seconds=50))
    job("high", minutes_ago=1, run_after=now - timedelta(seconds=1), priority=1)

    work(4)

    assert ran == ["high", "old", "middle", "young"]


def test_c21_a_job_that_fell_due_while_it_waited_takes_its_place_in_the_same_way(job, ran, work):
    due = timezone.now() + timedelta(minutes=30)
    job("old and due last", minutes_ago=10, run_after=due)
    job("middle", minutes_ago=5)
    job("young and due first", minutes_ago=2, run_after=due - timedelta(minutes=10))

    with at(due + timedelta(minutes=1)):
        work(3)

    assert ran == ["old and due last", "middle", "young and due first"]


def test_c21_a_run_after_that_was_changed_while_the_job_waits_counts(job, ran, work):
    earlier = job("brought forward", run_after=timezone.now() + timedelta(days=1))
    later = job("put off")
    Job.objects.filter(pk=earlier.pk).update(run_after=None)
    later.run_after = timezone.now() + timedelta(days=1)
    later.save()

    work(2)

    assert ran == ["brought forward"]


def test_c21_a_ready_job_keeps_its_place_before_younger_ones(job, declare, ran, work):
    def first(job):
        ran.append("first task")

    def second(job):
        ran.append("second task")

    declare("two", first, second)
    job("", name="two", minutes_ago=5)
    job("young", minutes_ago=1)

    work(3)

    assert ran == ["first task", "second task", "young"]


def test_c21_a_job_of_higher_priority_may_run_between_two_tasks_of_another(job, declare, ran, work):
    def first(running):
        ran.append("first task")
        job("urgent", priority=1)

    def second(running):
        ran.append("second task")

    declare("two", first, second)
    job("", name="two")

    work(3)

    assert ran == ["first task", "urgent", "second task"]


def test_c21_a_worker_process_runs_a_job_at_its_time(declare, worker_process, folder, notes):
    declare("noted", functions.note)
    due = timezone.now() + timedelta(seconds=4)
    workspace = {"folder": str(folder)}
    Job.objects.create(name="noted", workspace={**workspace, "label": "later"}, run_after=due)
    Job.objects.create(name="noted", workspace={**workspace, "label": "now"})

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: len(notes()) == 2, "both jobs ran")

    now, later = notes()
    assert (now["label"], later["label"]) == ("now", "later")
    assert later["time"] >= due.timestamp()


# ── C22: a worker's own queue ────────────────────────────────────────────────────────────────────


def test_c22_a_worker_takes_jobs_of_its_own_queue_only(job, ran, work):
    job("default", minutes_ago=1)
    job("mail", queue_name="mail", minutes_ago=2, priority=9)
    job("import", queue_name="import", minutes_ago=3)

    work(3)
    assert ran == ["default"]
    work(3, queue_name="mail")
    assert ran == ["default", "mail"]
    work(3, queue_name="nobody")

    assert ran == ["default", "mail"]


def test_c22_a_queue_name_is_taken_literally(job, ran, work):
    """No prefixes, no patterns, no trimming."""
    job("other", queue_name="mail2")
    job("pattern", queue_name="mail%")

    work(3, queue_name="mail")
    assert ran == []
    work(3, queue_name="mail%")

    assert ran == ["pattern"]


def test_c22_a_worker_process_takes_jobs_of_its_own_queue_only(
    declare, worker_process, folder, notes
):
    declare("noted", functions.note)
    for queue_name, priority in (("default", 5), ("mail", 0), ("import", 9), ("mail", -1)):
        workspace = {"label": queue_name, "folder": str(folder)}
        Job.objects.create(
            name="noted", workspace=workspace, queue_name=queue_name, priority=priority
        )

    process = worker_process("mail", "--rate_limit", 0)
    process.wait_until(lambda: len(notes()) == 2, "both jobs of the queue ran")
    process.signal(signal.SIGTERM)
    process.exit_code()

    assert [note["label"] for note in notes()] == ["mail", "mail"]
    waiting = Job.objects.filter(state="NEW").values_list("queue_name", flat=True)
    assert sorted(waiting) == ["default", "import"]


def test_c22_a_worker_process_without_a_queue_name_serves_the_default_queue(
    declare, worker_process, folder, notes
):
    declare("noted", functions.note)
    for queue_name in ("mail", "default"):
        workspace = {"label": queue_name, "folder": str(folder)}
        Job.objects.create(name="noted", workspace=workspace, queue_name=queue_name)

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: Job.objects.filter(state="COMPLETE").exists(), "a job was done")
    process.signal(signal.SIGTERM)
    process.exit_code()

    assert [note["label"] for note in notes()] == ["default"]
