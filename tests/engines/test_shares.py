"""What a worker asks before it takes more than it can start: how many wait, and for how many."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_dbq.rules.states import State
from tests.engines.conftest import NOW


@pytest.mark.parametrize(("at_most", "count"), [(1, 1), (4, 4), (5, 5), (9, 5)])
def test_ready_jobs_are_counted_up_to_a_number(engine, job_row, at_most, count):
    for number in range(5):
        job_row(priority=number)

    assert engine.count_ready(["default"], at_most=at_most, now=NOW) == count


def test_the_ready_jobs_of_several_queues_are_counted_together(engine, job_row):
    for queue_name in ("default", "other", "other", "third"):
        job_row(queue_name=queue_name)

    queues = ["default", "other", "none"]
    assert engine.count_ready(queues, at_most=9, now=NOW) == 3
    assert engine.count_ready(queues, at_most=2, now=NOW) == 2


def test_what_cannot_be_claimed_is_not_counted(engine, job_row):
    job_row(run_after=NOW + timedelta(hours=1))
    job_row(gate=1)
    for state in (State.PROCESSING, State.COMPLETE, State.FAILED):
        job_row(state=state)

    assert engine.count_ready(["default"], at_most=9, now=NOW) == 0


def test_the_queues_of_the_workers_that_are_heard(engine):
    for queues, age_seconds in ((["default"], 1), (["default", "other"], 2), (["late"], 30)):
        engine.register(
            hostname="host",
            pid=7,
            queues=queues,
            threads=1,
            now=NOW - timedelta(seconds=age_seconds),
        )

    heard = engine.queues_of_workers(heard_since=NOW - timedelta(seconds=10))
    assert sorted(heard) == [["default"], ["default", "other"]]
