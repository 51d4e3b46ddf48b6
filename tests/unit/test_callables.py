"""From a dotted path to the function."""

from __future__ import annotations

import os.path

import pytest

from django_dbq.exceptions import JobTimeout, TaskNotFound
from django_dbq.rules.callables import function_at, is_async, task_at, was_async


def test_a_path_leads_to_its_function():
    assert function_at("os.path.join") is os.path.join


@pytest.mark.parametrize("path", ["join", "no_such_module.join", "os.path.no_such_name"])
def test_a_path_that_leads_nowhere_is_an_import_error_that_says_so(path):
    with pytest.raises(ImportError) as raised:
        function_at(path)

    assert isinstance(raised.value, TaskNotFound)
    assert repr(path) in str(raised.value)
    assert "where the job is declared" in str(raised.value)


def test_what_cannot_be_called_is_no_task():
    with pytest.raises(TaskNotFound, match="it is a str"):
        function_at("os.path.sep")


@pytest.mark.parametrize(
    "line", ["1 / 0", "raise SystemExit(3)", "raise KeyboardInterrupt", "def broken(:"]
)
def test_whatever_a_module_raises_at_its_import_is_a_task_that_was_not_found(
    line, tmp_path, monkeypatch
):
    (tmp_path / "module_that_breaks.py").write_text(f"{line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaskNotFound) as raised:
        function_at("module_that_breaks.task")

    assert raised.value.__cause__ is not None


def test_a_timeout_that_strikes_while_a_module_is_imported_stays_a_timeout(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text(
        "from django_dbq.exceptions import JobTimeout\nraise JobTimeout\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(JobTimeout):
        function_at("slow_to_import.task")


ASYNC = "tests.processes.async_tasks.note_async"


def test_a_task_may_be_async_and_nothing_else():
    assert is_async(ASYNC)
    assert task_at(ASYNC).__name__ == "note_async"
    with pytest.raises(TaskNotFound, match="only a task can be one"):
        function_at(ASYNC)


def test_what_is_plain_or_nowhere_is_not_async():
    assert not is_async("os.path.join")
    assert not is_async("no.such.task")


def test_whether_it_was_async_is_known_when_somebody_has_looked(tmp_path, monkeypatch):
    (tmp_path / "not_looked_at.py").write_text("async def task(job): ...\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert was_async("not_looked_at.task") is None
    task_at("not_looked_at.task")
    assert was_async("not_looked_at.task") is True
    task_at("os.path.join")
    assert was_async("os.path.join") is False
