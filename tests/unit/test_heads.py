"""In which order a worker of every queue goes through them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from django_dbq.rules.budget import LONGEST_PAUSE_SECONDS
from django_dbq.rules.heads import SHARE_OF_ASKING, Head, Heads

NOON = datetime(2031, 5, 4, 12, 0, tzinfo=timezone.utc)
ASKING_SECONDS = 0.01
PAUSE_SECONDS = ASKING_SECONDS / SHARE_OF_ASKING


def head(queue, minute=0, *, priority=0):
    return Head(-priority, NOON + timedelta(minutes=minute), queue)


@pytest.fixture
def heads():
    heads = Heads()
    found = [
        head("new", 9),
        head("low", 0, priority=-1),
        head("old", 1),
        head("high", 5, priority=3),
    ]
    heads.learn(found, began_at=100 - ASKING_SECONDS, ended_at=100)
    return heads


def taken(heads):
    return [heads.take_best() for _ in range(len(heads))]


def test_queues_come_by_the_priority_of_their_heads_and_then_by_their_age(heads):
    assert taken(heads) == ["high", "old", "new", "low"]


def test_a_queue_that_was_taken_is_forgotten(heads):
    heads.take_best()

    assert "high" not in taken(heads)


def test_a_queue_of_which_more_is_left_comes_behind_those_whose_heads_are_older(heads):
    heads.take_best()
    last_of_old = NOON + timedelta(minutes=10)
    assert heads.take_best() == "old"
    heads.go_on_behind("old", priority=0, created=last_of_old)

    assert taken(heads) == ["new", "old", "low"]


def test_what_was_learned_is_all_there_is(heads):
    heads.learn([head("another")], began_at=200, ended_at=200)

    assert taken(heads) == ["another"]


def test_at_first_they_are_asked_for():
    assert Heads().are_old(at=0)


def test_they_are_asked_for_in_a_share_of_the_time(heads):
    assert not heads.are_old(at=100 + PAUSE_SECONDS - 0.001)
    assert heads.are_old(at=100 + PAUSE_SECONDS + 0.001)


def test_they_are_asked_for_again_soon_however_long_it_took(heads):
    heads.learn([], began_at=200, ended_at=300)

    assert heads.are_old(at=300 + LONGEST_PAUSE_SECONDS)
