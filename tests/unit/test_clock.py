"""What time it is."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from django_dbq import clock
from django_dbq.clock import GOOD_FOR_SECONDS, DatabaseClock, as_stored, aware_now

DATABASE_TIME = datetime(2031, 5, 4, 3, 2, 1, tzinfo=timezone.utc)


class Host:
    """A host whose time passes when the test says so, and a database that is asked from it."""

    def __init__(self):
        self.seconds = 1_000.0
        self.questions = 0
        self.answer_takes_seconds = 0.0

    def monotonic(self):
        return self.seconds

    def ask(self):
        self.questions += 1
        self.seconds += self.answer_takes_seconds
        return DATABASE_TIME


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setattr(clock, "monotonic", host.monotonic)
    return host


@pytest.fixture
def database_clock(host):
    database_clock = DatabaseClock(host.ask)
    database_clock.synchronize()
    return database_clock


def test_it_tells_the_database_s_time_and_not_this_host_s(database_clock):
    assert database_clock.now() == DATABASE_TIME


def test_time_passes_without_asking_again(database_clock, host):
    host.seconds += 7.5

    assert database_clock.now() == DATABASE_TIME + timedelta(seconds=7.5)
    assert host.questions == 1


def test_the_answer_is_taken_to_be_from_the_middle_of_the_round_trip(database_clock, host):
    host.answer_takes_seconds = 2.0
    database_clock.synchronize()

    assert database_clock.now() == DATABASE_TIME + timedelta(seconds=1)


def test_an_answer_grows_old_and_a_new_one_is_young(database_clock, host):
    host.seconds += GOOD_FOR_SECONDS
    assert not database_clock.is_old

    host.seconds += 1
    assert database_clock.is_old

    database_clock.synchronize()
    assert not database_clock.is_old
    assert database_clock.now() == DATABASE_TIME


def test_a_clock_that_was_never_asked_tells_this_host_s_time():
    def never():
        raise AssertionError("nobody asked for the time")

    off = abs(DatabaseClock(never).now() - datetime.now(timezone.utc))
    assert off < timedelta(seconds=5)


@pytest.mark.parametrize("use_tz", [True, False])
def test_now_is_aware_whatever_use_tz_says(settings, use_tz):
    settings.USE_TZ = use_tz
    off = abs(aware_now() - datetime.now(timezone.utc))

    assert off < timedelta(seconds=5)


def test_with_use_tz_moments_are_stored_as_they_are(settings):
    settings.USE_TZ = True

    assert as_stored(DATABASE_TIME) is DATABASE_TIME


def test_without_use_tz_moments_are_stored_as_naive_local_time(settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"

    assert as_stored(DATABASE_TIME) == datetime(2031, 5, 4, 12, 2, 1)
