"""Which queues a worker serves."""

from __future__ import annotations

import pytest

from django_dbq.exceptions import InvalidOption
from django_dbq.rules.queues import EVERY_QUEUE, covers, overlap
from django_dbq.worker.options import WorkerOptions

EVERY = [EVERY_QUEUE]


@pytest.mark.parametrize(
    ("queues", "queue", "answer"),
    [(["a", "b"], "b", True), (["a", "b"], "c", False), (EVERY, "c", True), (EVERY, "*", True)],
)
def test_a_worker_takes_jobs_of_the_queues_that_it_names_or_of_every_one(queues, queue, answer):
    assert covers(queues, queue) is answer


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        (["a", "b"], ["b", "c"], True),
        (["a"], ["b"], False),
        (EVERY, ["b"], True),
        (["b"], EVERY, True),
        (EVERY, EVERY, True),
    ],
)
def test_workers_compete_where_they_serve_the_same_queue(one, other, answer):
    assert overlap(one, other) is answer


def test_every_queue_is_asked_for_alone():
    assert WorkerOptions(queues=("*",)).serves_every_queue
    assert not WorkerOptions(queues=("mail", "reports")).serves_every_queue
    with pytest.raises(InvalidOption, match=r"names, or '\*' alone for all, not mail \*"):
        WorkerOptions(queues=("mail", "*"))
