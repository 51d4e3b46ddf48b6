"""For how long workers have been silent."""

from __future__ import annotations

from datetime import datetime, timedelta

from django_dbq.rules.silence import Silence

NOON = datetime(2030, 10, 27, 12)


def test_silence_lasts_as_long_as_a_heartbeat_stays_the_last():
    silence = Silence()
    silence.note({1: NOON, 2: NOON}, at=100)
    silence.note({1: NOON, 2: NOON + timedelta(seconds=2)}, at=102)

    assert silence.of_at_least(2, at=102) == {1}
    assert silence.of_at_least(0, at=102) == {1, 2}
    assert silence.of_at_least(5, at=106) == {1}


def test_a_heartbeat_that_bears_an_earlier_time_is_heard_too():
    silence = Silence()
    silence.note({1: NOON}, at=100)
    silence.note({1: NOON - timedelta(hours=1)}, at=110)

    assert silence.of_at_least(1, at=110) == set()


def test_who_is_gone_is_forgotten():
    silence = Silence()
    silence.note({1: NOON}, at=100)
    silence.note({}, at=101)

    assert silence.of_at_least(0, at=200) == set()
