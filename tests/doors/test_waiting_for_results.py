"""Waiting for the result of a Django task."""

from __future__ import annotations

import pytest

from django_dbq import queue
from django_dbq.engines import awaiting, engine_for
from django_dbq.exceptions import WaitInTransaction, WaitTimeout
from django_dbq.management.commands.worker import Worker
from tests.compat.waiting import in_another_connection
from tests.doors import tasks
from tests.project.routers import ReadsElsewhere

pytestmark = pytest.mark.django_db(transaction=True)


def work(*_):
    in_another_connection(Worker("default", 0)._process_job)


def test_who_waits_gets_the_result_refreshed(monkeypatch):
    monkeypatch.setattr(awaiting.Waiter, "pause", work)
    monkeypatch.setattr(type(engine_for("default")), "waiter", awaiting.Awaiting.waiter)
    result = tasks.add.enqueue(1, second=2)

    assert queue.wait_for(result, 30) is result
    assert result.return_value == 3
    assert queue.wait_for(result.id, 0).result == 3


def test_a_timeout_names_the_task():
    result = tasks.add.enqueue(1)
    with pytest.raises(WaitTimeout) as raised:
        queue.wait_for(result, 0)

    assert (str(raised.value.job_id), raised.value.name) == (result.id, tasks.add.module_path)


@pytest.mark.django_db(transaction=False)
def test_in_a_test_case_waiting_for_a_result_that_nobody_will_make_is_refused():
    with pytest.raises(WaitInTransaction):
        queue.wait_for(tasks.add.enqueue(1), 1)


@pytest.fixture
def elsewhere(settings):
    """Of a task, one with another backend of this kind."""

    def elsewhere(task, kind):
        settings.TASKS = {
            **settings.TASKS,
            "other": {"BACKEND": f"django_dbq.task_backend.{kind}Backend", "QUEUES": []},
        }
        return task.using(backend="other")

    return elsewhere


def test_a_result_of_another_backend_that_is_there_is_returned(elsewhere):
    result = elsewhere(tasks.add, "Immediate").enqueue(1, second=2)

    assert queue.wait_for(result, 0) is result
    assert result.return_value == 3


def test_a_result_of_another_backend_that_never_comes_is_a_timeout(elsewhere):
    result = elsewhere(tasks.add, "Dummy").enqueue(1)
    with pytest.raises(WaitTimeout, match=r"tests\.doors\.tasks\.add.*READY"):
        queue.wait_for(result, 0.01)


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_a_result_is_read_where_it_was_written_and_not_from_a_replica(settings):
    settings.DATABASE_ROUTERS = [ReadsElsewhere()]
    result = tasks.add.enqueue(1)
    work()

    assert tasks.add.get_result(result.id).return_value == 1
    assert queue.wait_for(result, 0).return_value == 1


@pytest.mark.django_db(transaction=False)
def test_a_result_stands_for_its_job_when_it_is_called_off_and_put_back():
    result = tasks.add.enqueue(1)

    assert queue.cancel(result, "not needed") == "CANCELLED"
    result.refresh()
    assert result.status == "FAILED"
    assert str(queue.rerun(result).pk) == result.id
