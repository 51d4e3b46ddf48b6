"""`manage.py check`."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from django_dbq.checks import check_backends, check_jobs, check_settings
from django_dbq.rules import declarations
from django_dbq.rules.declarations import HOOK_KEYS

GOOD = "tests.project.tasks.noop"
ASYNC = "tests.processes.async_tasks.note_async"


@pytest.fixture(autouse=True)
def nothing_is_declared_beside_functions(monkeypatch):
    monkeypatch.setattr(declarations, "_beside", {})


def ids(messages):
    return [message.id for message in messages]


def test_the_declarations_of_this_project_are_good():
    assert check_jobs() == check_settings() == check_backends() == []


def test_jobs_that_are_no_dict_are_e001(settings):
    settings.JOBS = ["app.task"]

    assert ids(check_jobs()) == ["django_dbq.E001"]


@pytest.mark.parametrize("entry", [[], {}, {"tasks": []}, {"tasks": GOOD}, None, {"tasks": [5]}])
def test_an_entry_of_the_wrong_shape_is_e002(settings, entry):
    settings.JOBS = {"job": entry}

    assert ids(check_jobs()) == ["django_dbq.E002"]


@pytest.mark.parametrize("path", ["no.such.task", "tests.project.tasks.gone", "os.path.sep"])
def test_a_task_that_cannot_be_called_is_e003(settings, path):
    settings.JOBS = {"job": [GOOD, path]}
    (message,) = check_jobs()

    assert message.id == "django_dbq.E003"
    assert path in message.msg
    assert "'job'" in message.msg


def test_a_task_may_be_async_and_a_hook_may_not(settings):
    settings.JOBS = {"job": {"tasks": [ASYNC]}}
    assert check_jobs() == []

    settings.JOBS = {"job": {"tasks": [GOOD], "post_task_hook": ASYNC}}
    (message,) = check_jobs()
    assert message.id == "django_dbq.E004"
    assert "async" in message.msg


def test_an_async_task_that_is_declared_atomic_is_e011(settings):
    settings.JOBS = {"job": {"tasks": [GOOD, ASYNC], "atomic": True}}
    (message,) = check_jobs()

    assert message.id == "django_dbq.E011"
    assert ASYNC in message.msg
    assert "'job'" in message.msg
    assert "sync_to_async" in message.hint


@pytest.mark.parametrize("key", HOOK_KEYS)
def test_a_hook_that_cannot_be_called_is_e004(settings, key):
    settings.JOBS = {"job": {"tasks": [GOOD], key: "no.such.hook"}}
    (message,) = check_jobs()

    assert message.id == "django_dbq.E004"
    assert key in message.msg


def test_an_unknown_key_of_a_job_is_e005(settings):
    settings.JOBS = {"job": {"tasks": [GOOD], "retries": 3}}
    (message,) = check_jobs()

    assert message.id == "django_dbq.E005"
    assert "failure_hook" in message.hint


@pytest.mark.parametrize(
    "retry",
    [
        "no.such.function",
        {"decide": "tests.project.tasks.gone"},
        {"on": "no.such.Error"},
        {"never": ["OSError", "os.path.join"]},
        {"on": [KeyError, "NoSuchError"]},
    ],
    ids=str,
)
def test_what_a_retry_names_and_cannot_be_used_is_e007(settings, retry):
    settings.JOBS = {"job": {"tasks": [GOOD], "retry": retry}}
    (message,) = check_jobs()

    assert message.id == "django_dbq.E007"
    assert "'job'" in message.msg


def test_a_retry_whose_names_are_there_is_good(settings):
    retry = {
        "decide": GOOD,
        "on": ["OSError", KeyError],
        "never": "django.core.exceptions.FieldError",
    }
    settings.JOBS = {"job": {"tasks": [GOOD], "retry": retry}}

    assert check_jobs() == []


@pytest.mark.parametrize("key", [{"isolation": "process"}, {"timeout": 5}], ids=str)
def test_what_needs_processes_is_w001_where_there_are_none(settings, monkeypatch, key):
    settings.JOBS = {"job": {"tasks": [GOOD], **key}}
    assert check_jobs() == []

    monkeypatch.delattr("os.fork")
    (message,) = check_jobs()
    assert message.id == "django_dbq.W001"
    assert "'job'" in message.msg


@pytest.mark.parametrize("given", [{"LEASE": 0}, {"UNKNOWN": 1}, ["LEASE"]])
def test_wrong_settings_are_e006(settings, given):
    settings.DBQ = given

    assert ids(check_settings()) == ["django_dbq.E006"]


def test_a_retention_for_a_job_that_is_not_declared_is_w002(settings):
    settings.JOBS = {"report": [GOOD]}
    settings.DBQ = {"RETENTION": {"COMPLETE": 60, "JOBS": {"report": None, "reprot": None}}}
    (message,) = check_settings()

    assert message.id == "django_dbq.W002"
    assert "'reprot'" in message.msg

    settings.JOBS = None
    assert check_settings() == []


def test_each_wrong_job_and_each_wrong_task_of_it_is_told(settings):
    settings.JOBS = {
        "one": ["no.such.task", "nor.such.task", "no.such.task"],
        "two": {"tasks": []},
        "three": [GOOD],
    }

    assert ids(check_jobs()) == ["django_dbq.E003", "django_dbq.E003", "django_dbq.E002"]


def test_django_runs_these_checks(settings):
    settings.JOBS, settings.DBQ = {"job": {"tasks": []}}, {"LEASE": 0}

    assert {"django_dbq.E002", "django_dbq.E006"} <= set(ids(run_checks()))
    with pytest.raises(SystemCheckError, match=r"django_dbq\.E002"):
        call_command("check")


def test_a_backend_of_ours_that_cannot_be_imported_is_e012(settings):
    settings.TASKS = {
        "default": {"BACKEND": "django_dbq.tasks_backend.DatabaseBackend"},
        "theirs": {"BACKEND": "no.such.Backend"},
    }
    (message,) = check_backends()

    assert message.id == "django_dbq.E012"
    assert "settings.TASKS['default']['BACKEND']" in message.msg


@pytest.mark.parametrize("tasks", [{}, None, [], {"default": None}, {"default": {}}])
def test_settings_without_a_backend_of_ours_are_left_to_django(settings, tasks):
    settings.TASKS = tasks

    assert check_backends() == []
