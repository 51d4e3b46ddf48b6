"""What is enqueued once a transaction is committed, by those who do not rely on it themselves."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_dbq import queue
from django_dbq.exceptions import JobNotDeclared
from django_dbq.models import Job
from tests.doors import tasks
from tests.queue import jobs

pytestmark = pytest.mark.django_db(transaction=True)


def by_name():
    queue.enqueue_on_commit("noop", {"a": 1}, queue_name="q")


def by_function():
    queue.enqueue_on_commit(jobs.note, a=1)


def by_task():
    queue.enqueue_on_commit(tasks.add, 1, second=2)


every_way = pytest.mark.parametrize("enqueue", [by_name, by_function, by_task])


@every_way
def test_nothing_is_enqueued_before_the_commit(enqueue):
    with transaction.atomic():
        enqueue()
        assert not Job.objects.exists()

    assert Job.objects.count() == 1


@every_way
def test_nothing_is_enqueued_when_the_transaction_is_rolled_back(enqueue):
    with transaction.atomic():
        enqueue()
        transaction.set_rollback(True)

    assert not Job.objects.exists()


@every_way
def test_without_a_transaction_a_task_is_enqueued_on_commit_at_once(enqueue):
    enqueue()

    assert Job.objects.count() == 1


def test_a_task_that_is_enqueued_on_commit_has_all_that_it_was_given():
    for enqueue in (by_name, by_function, by_task):
        enqueue()

    named, noted, added = Job.objects.order_by("created")
    assert (named.name, named.queue_name, named.workspace) == ("noop", "q", {"a": 1})
    assert (noted.name, noted.workspace) == (jobs.note.job_name, {"a": 1})
    assert added.workspace == {"args": [1], "kwargs": {"second": 2}}


def test_a_task_that_cannot_be_enqueued_on_commit_is_told_after_the_commit():
    with pytest.raises(JobNotDeclared), transaction.atomic():
        queue.enqueue_on_commit("nobody knows it")
