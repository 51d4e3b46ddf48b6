"""Django tasks in real worker processes: what they return, and what is told when these die."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_dbq.exceptions import JobTimeout, WorkerDied
from django_dbq.models import WorkerProcess
from django_dbq.rules.worlds import WORLDS
from tests.compat.waiting import wait_until

if not WORLDS:
    pytest.skip("Django's Tasks API is not installed", allow_module_level=True)

from tests.processes import django_tasks as tasks

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def ended(result, worker):
    def is_finished():
        result.refresh()
        return result.is_finished

    worker.wait_until(is_finished, "the task was finished")
    return result


def test_a_worker_runs_django_tasks_and_their_results_are_read_elsewhere(start):
    results = [tasks.add.enqueue(number, second=1) for number in range(20)]
    assert start("--burst", "--threads", 2).exit_code() == 0

    assert [tasks.add.get_result(each.id).return_value for each in results] == list(range(1, 21))


def test_a_worker_that_dies_of_a_task_is_an_error_and_an_attempt(start, tmp_path):
    result = tasks.kill_own_process_at_first.enqueue(str(tmp_path))
    ended(result, start())

    assert result.return_value == result.attempts == 2
    assert [each.exception_class for each in result.errors] == [WorkerDied]
    assert len(set(result.worker_ids)) == 2


def test_a_task_that_takes_too_long_has_failed_with_the_timeout(start):
    result = ended(tasks.sleep_too_long.enqueue(), start())

    assert [each.exception_class for each in result.errors] == [JobTimeout]


def test_a_task_that_asks_for_a_process_of_its_own_has_one(start):
    result = tasks.tell_process.enqueue()
    worker = start()
    ended(result, worker)

    wait_until(lambda: WorkerProcess.objects.exists(), "the worker was registered")
    assert result.return_value not in WorkerProcess.objects.values_list("pid", flat=True)


def test_what_a_task_in_a_process_of_its_own_does_to_its_arguments_changes_no_job(start):
    result = ended(tasks.take_all.enqueue(["a", "b"]), start())

    assert result.return_value == ["b", "a"]
    assert tasks.take_all.get_result(result.id).args == [["a", "b"]]


@pytest.mark.parametrize(
    "task", [tasks.stop_half_way, tasks.stop_half_way_async, tasks.stop_half_way_isolated]
)
def test_others_see_the_metadata_of_a_task_while_it_runs_and_when_it_has_ended(
    task, start, tmp_path
):
    result = task.using(metadata={"trace_id": 123}).enqueue(str(tmp_path))
    worker = start()

    def is_half_done():
        result.refresh()
        return result.metadata.get("done") == 50

    worker.wait_until(is_half_done, "half of it was done")
    assert (result.is_finished, result.metadata["trace_id"]) == (False, 123)
    Path(tmp_path, "go on").touch()
    ended(result, worker)
    assert (result.errors, result.metadata) == ([], {"trace_id": 123, "done": 100})


def test_metadata_that_was_saved_outlives_the_worker_that_dies(start):
    result = ended(tasks.die_half_way.enqueue(), start())

    assert (result.attempts, result.metadata) == (2, {"done": 100})
