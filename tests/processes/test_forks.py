"""Tasks that fork: what their children inherit, and what becomes of these."""

from __future__ import annotations

import signal

import pytest

from django_dbq.models import Job
from tests.processes.conftest import states, wait_for_end

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("processes", [1, 0])
def test_signals_that_stop_a_worker_end_what_a_task_has_forked(start, enqueue, processes):
    enqueue("end_forks_by_signals")
    wait_for_end(1, start("--processes", processes))

    ends = Job.objects.get().workspace["ends"]
    assert ends == [-signal.SIGTERM, -signal.SIGQUIT]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("fork_atomically", 1),
        ("fork_isolated", 1),
        ("fork_before_a_hook", 2),
        ("fork_in_the_first_hook", 2),
        ("fork_in_the_last_hook", 2),
        ("fork_and_raise", 1),
        ("fork_async", 1),
        ("fork_async_isolated", 1),
    ],
)
def test_what_comes_back_from_a_fork_a_second_time_goes_no_further(
    start, enqueue, times_run, name, lines
):
    jobs = enqueue(name, 3, priority=1)
    others = enqueue("note", 10)
    worker = start("--burst")

    assert worker.exit_code() == 0
    assert states() == {"COMPLETE": 13}
    assert times_run() == {**dict.fromkeys(jobs, lines), **dict.fromkeys(others, 1)}


def test_a_pool_of_processes_works_in_a_task_and_ends_what_it_is_at(start, enqueue):
    enqueue("square_in_a_pool")
    wait_for_end(1, start())

    assert Job.objects.get().workspace["squares"] == [1, 4, 9]
