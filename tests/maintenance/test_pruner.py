"""Finished jobs are deleted page by page, by whoever has the duty, and never in a hurry."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from threading import Event

import pytest
from django.db import OperationalError

from django_dbq import clock
from django_dbq.maintenance.pruner import PAUSE_AFTER_ERROR_SECONDS, STANDBY_SECONDS, Pruner
from django_dbq.rules.retention import FIRST_PAGE, SHARE_OF_LOOKING, SHORTEST_REST_SECONDS, Pace
from django_dbq.rules.states import FINAL
from django_dbq.settings import Retention

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=timezone.utc)
RETENTION = Retention(dict.fromkeys(FINAL, timedelta(days=1)))
PACE = Pace(page_seconds=0.05, share=0.2)


class Jobs:
    """An engine, and a sweep over jobs that takes as long as the test says."""

    prune_pace = PACE

    def __init__(self, host):
        self._host = host
        self.pages = []  # (how many are over, how many seconds it takes), or what is raised
        self.sizes = []
        self.sweeps = 0
        self.is_connected = False

    def now(self):
        return NOW

    def limit_waiting(self):
        self.is_connected = True

    def forget_connection(self):
        self.is_connected = False

    def sweep(self, retention, *, now):
        assert (retention, now.date()) == (RETENTION, NOW.date())
        self.sweeps += 1
        return self

    @property
    def is_done(self):
        return not self.pages

    def delete_next(self, size):
        self.sizes.append(size)
        page = self.pages.pop(0)
        if isinstance(page, Exception):
            raise page
        deleted, seconds = page
        self._host.seconds += seconds
        return deleted


class Host:
    seconds = 1_000.0


@pytest.fixture
def jobs(monkeypatch):
    host = Host()
    monkeypatch.setattr(clock, "monotonic", lambda: host.seconds)
    return Jobs(host)


@pytest.fixture
def duty():
    duty = Event()
    duty.set()
    return duty


@pytest.fixture
def pruner(jobs, duty):
    return Pruner(jobs, RETENTION, has_duty=duty.is_set)


def test_who_has_not_the_duty_asks_the_database_nothing(pruner, jobs, duty):
    duty.clear()

    assert pruner.turn() == STANDBY_SECONDS
    assert (jobs.sweeps, jobs.is_connected) == (0, False)


def test_who_gets_the_duty_begins_and_who_loses_it_stops_in_the_middle(pruner, jobs, duty):
    jobs.pages = [(5, 0.05), (5, 0.05), (5, 0.05)]
    pruner.turn()
    duty.clear()
    pruner.turn()
    assert (len(jobs.sizes), jobs.is_connected) == (1, False)

    duty.set()
    pruner.turn()
    assert jobs.sweeps == 2


def test_after_each_page_others_get_four_times_as_long(pruner, jobs):
    jobs.pages = [(5, 0.05), (5, 0.5), (5, 0.05)]

    assert [pruner.turn(), pruner.turn()] == pytest.approx([0.2, 2.0])


def test_pages_are_made_as_long_as_a_page_should_take(pruner, jobs):
    jobs.pages = [(5, 0.01), (5, 0.05), (5, 0.1), (5, 0.05)]
    for _ in range(4):
        pruner.turn()

    assert jobs.sizes == [FIRST_PAGE, FIRST_PAGE * 2, FIRST_PAGE * 2, FIRST_PAGE]


def test_after_a_sweep_it_rests_without_a_connection_and_tells_what_it_did(pruner, jobs, caplog):
    caplog.set_level("INFO", "django_dbq.maintenance")
    jobs.pages = [(5, 0.05), (3, 0.05)]
    pruner.turn()
    assert jobs.is_connected

    assert pruner.turn() == SHORTEST_REST_SECONDS
    assert not jobs.is_connected
    assert caplog.messages == ["Finished jobs deleted because of their age: 8."]


def test_a_project_that_forbids_to_delete_a_job_loses_that_page_alone(pruner, jobs, caplog):
    jobs.pages = [(5, 0.05), RuntimeError("a receiver of pre_delete says no"), (3, 0.05)]
    pruner.turn()

    assert pruner.turn() == PAUSE_AFTER_ERROR_SECONDS
    assert "a receiver of pre_delete says no" in caplog.text
    pruner.turn()
    assert (len(jobs.sizes), jobs.sweeps) == (3, 1)


def test_a_sweep_that_passed_many_jobs_that_stay_rests_longer(pruner, jobs):
    jobs.pages = [(0, 4.0), (5, 4.0), (0, 4.0)]
    pruner.turn()
    pruner.turn()

    assert pruner.turn() == pytest.approx(8.0 / SHARE_OF_LOOKING)
    jobs.pages = [(0, 0.1)]
    assert pruner.turn() == SHORTEST_REST_SECONDS  # each sweep is judged by itself


def test_an_error_is_logged_and_the_sweep_goes_on_after_a_while(pruner, jobs, caplog):
    jobs.pages = [(5, 0.05), OperationalError("gone\n"), (5, 0.05)]
    pruner.turn()

    assert pruner.turn() == PAUSE_AFTER_ERROR_SECONDS
    assert not jobs.is_connected
    assert caplog.messages == ["Finished jobs could not be deleted: gone"]
    assert pruner.turn() == SHORTEST_REST_SECONDS
    assert jobs.sweeps == 1


def test_a_sweep_whose_last_page_fails_is_over_all_the_same(pruner, jobs):
    jobs.pages = [(5, 0.05), OperationalError("gone")]
    pruner.turn()

    assert pruner.turn() == SHORTEST_REST_SECONDS


def test_it_runs_until_it_is_over(pruner, jobs):
    over = Event()
    jobs.pages = [(5, 0.0), (5, 0.0)]
    jobs.forget_connection = over.set
    pruner.run(over)

    assert jobs.pages == []
