"""Where in a queue a claim begins to look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest

from django_dbq.rules import reach as rules
from django_dbq.rules.budget import LONGEST_PAUSE_SECONDS
from django_dbq.rules.reach import (
    MOST_PRIORITIES,
    SHARE_OF_ASKING_FOR_DUE,
    SHARE_OF_LOOKING_EVERYWHERE,
    Reach,
)

NOON = datetime(2031, 5, 4, 12, 0, tzinfo=timezone.utc)
LOOK_SECONDS = 0.05
PAUSE_SECONDS = LOOK_SECONDS / SHARE_OF_LOOKING_EVERYWHERE


@dataclass
class Job:
    created: datetime
    priority: int = 0


def at(minute: int, priority: int = 0) -> Job:
    return Job(NOON + timedelta(minutes=minute), priority)


@pytest.fixture
def reach():
    """It looked everywhere until second 100, and found jobs of two priorities."""
    reach = Reach()
    jobs = [at(3), at(1), at(7, priority=2), at(9, priority=2)]
    reach.looked_everywhere("default", jobs, began_at=100 - LOOK_SECONDS, ended_at=100)
    return reach


def test_at_first_it_looks_everywhere():
    assert Reach().begins("default", at=5) == {}


def test_it_begins_with_the_first_that_was_found_highest_priority_first(reach):
    begins = reach.begins("default", at=100)
    assert list(begins.items()) == [(2, at(7).created), (0, at(1).created)]


def test_each_look_moves_it_along_and_leaves_other_priorities(reach):
    reach.found("default", [at(5), at(6)])
    assert reach.begins("default", at=100) == {2: at(7).created, 0: at(5).created}


def test_it_looks_everywhere_for_a_share_of_the_time(reach):
    assert reach.begins("default", at=100 + PAUSE_SECONDS - 0.01)
    assert reach.begins("default", at=100 + PAUSE_SECONDS) == {}


def test_where_nothing_is_it_looks_everywhere(reach):
    reach.looked_everywhere("default", [], began_at=101, ended_at=102)
    assert reach.begins("default", at=102) == {}


def test_queues_know_nothing_of_each_other(reach):
    assert reach.begins("other", at=100) == {}


def test_what_is_remembered_does_not_grow_with_each_queue_that_ever_was(monkeypatch):
    monkeypatch.setattr(rules, "MANY_QUEUES", 10)
    reach = Reach()
    for number in range(1_000):
        reach.looked_everywhere(f"queue {number}", [at(1)], began_at=99, ended_at=100)

    assert reach.begins("queue 999", at=100)
    assert max(len(each) for each in (reach._begins, reach._everywhere_at)) <= 11


def test_with_many_priorities_one_look_everywhere_is_the_shorter_way(reach):
    reach.found("default", [at(1, priority) for priority in range(MOST_PRIORITIES + 1)])
    assert reach.begins("default", at=100) == {}


def test_it_asks_for_due_jobs_for_a_share_of_the_time():
    reach = Reach()
    assert reach.asks_for_due("default", at=7)
    reach.asked_for_due("default", began_at=100 - LOOK_SECONDS, ended_at=100)
    pause_seconds = LOOK_SECONDS / SHARE_OF_ASKING_FOR_DUE

    assert not reach.asks_for_due("default", at=100 + pause_seconds - 0.01)
    assert reach.asks_for_due("default", at=100 + pause_seconds)
    assert reach.asks_for_due("other", at=100)


def test_it_asks_for_due_jobs_when_one_can_be_due():
    reach = Reach()
    reach.none_is_due(until=200)

    assert not reach.asks_for_due("default", at=199.9)
    assert reach.asks_for_due("default", at=200)


def test_a_look_that_took_very_long_does_not_keep_it_from_looking_again():
    reach = Reach()
    reach.looked_everywhere("default", [at(1)], began_at=0, ended_at=100)
    reach.asked_for_due("default", began_at=0, ended_at=100)

    assert reach.begins("default", at=100 + LONGEST_PAUSE_SECONDS) == {}
    assert reach.asks_for_due("default", at=100 + LONGEST_PAUSE_SECONDS)
