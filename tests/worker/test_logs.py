"""What a worker tells of its jobs, and how much of it."""

from __future__ import annotations

import logging

import pytest

from django_dbq.worker import logs
from django_dbq.worker.logs import LINES_A_SECOND, Rationed


@pytest.fixture
def moment(monkeypatch):
    """The time, in a list; a test moves it."""
    now = [100.0]
    monkeypatch.setattr(logs.clock, "monotonic", lambda: now[0])
    return now


def told(lines: Rationed, times: int) -> int:
    wanted = [lines.take_a_line() for _ in range(times)]
    return sum(wanted)


def test_a_second_has_so_many_lines_and_then_a_count(moment, caplog):
    caplog.set_level(logging.INFO, "django_dbq")
    lines = Rationed(logs.logger, logs.MORE_DONE)
    assert told(lines, LINES_A_SECOND + 30) == LINES_A_SECOND
    moment[0] += 0.9
    lines.settle()
    assert not caplog.records
    moment[0] += 0.1
    assert lines.take_a_line()
    assert [record.getMessage() for record in caplog.records] == [
        "Jobs done: 30 more in a second; level DEBUG names each."
    ]


def test_the_count_comes_though_no_other_job_does(moment, caplog):
    caplog.set_level(logging.INFO, "django_dbq")
    lines = Rationed(logs.logger, logs.MORE_DONE)
    told(lines, LINES_A_SECOND + 1)
    moment[0] += 1
    lines.settle()
    lines.settle()
    assert len(caplog.records) == 1


def test_few_lines_are_told_without_a_count(moment, caplog):
    caplog.set_level(logging.INFO, "django_dbq")
    lines = Rationed(logs.logger, logs.MORE_DONE)
    for _ in range(5):
        assert told(lines, LINES_A_SECOND) == LINES_A_SECOND
        moment[0] += 1
    assert not caplog.records


def test_debug_tells_all(moment, caplog):
    caplog.set_level(logging.DEBUG, "django_dbq")
    assert told(Rationed(logs.logger, logs.MORE_DONE), 3 * LINES_A_SECOND) == 3 * LINES_A_SECOND


def test_above_info_nothing_is_even_counted(moment, caplog):
    caplog.set_level(logging.WARNING, "django_dbq")
    lines = Rationed(logs.logger, logs.MORE_DONE)
    assert told(lines, 3 * LINES_A_SECOND) == 0
    moment[0] += 1
    caplog.set_level(logging.INFO, "django_dbq")
    lines.settle()
    assert not caplog.records


def test_a_worker_that_ends_within_the_second_tells_the_count(moment, caplog):
    caplog.set_level(logging.INFO, "django_dbq")
    lines = Rationed(logs.logger, logs.MORE_DONE)
    told(lines, LINES_A_SECOND + 7)
    lines.settle(now=True)
    assert len(caplog.records) == 1
    assert " 7 more " in caplog.records[0].getMessage()
