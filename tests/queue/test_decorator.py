"""`@job`: a job that is declared beside its function."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.checks import ERROR
from django.test import override_settings
from django.utils import timezone

import django_dbq
from django_dbq import checks, job, queue
from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared, UnknownJobOption
from django_dbq.models import Job
from django_dbq.rules import declarations, discovery
from django_dbq.rules.declarations import KNOWN_OPTIONS, declaration_of
from django_dbq.rules.states import State
from tests.queue import jobs

pytestmark = pytest.mark.django_db

LATER = timezone.now() + timedelta(hours=1)
NOTE = "tests.queue.jobs.note"


@pytest.fixture(autouse=True)
def declared_in_this_test_alone(monkeypatch):
    monkeypatch.setattr(declarations, "_beside", copy.deepcopy(declarations._beside))
    jobs.calls.clear()


@pytest.fixture(autouse=True)
def undecorated():
    functions = (plain, other)
    yield
    for function in functions:
        vars(function).clear()


def plain(job):
    return "called"


def other(job):
    return "called too"


# ── the function ─────────────────────────────────────────────────────────────────────────────────


def test_the_function_is_what_it_was_and_can_be_called_as_before():
    decorated = job(plain)

    assert decorated is plain
    assert decorated(None) == "called"
    assert inspect.isfunction(decorated)
    assert pickle.loads(pickle.dumps(decorated)) is plain  # noqa: S301 (our own pickle)
    assert jobs.note(SimpleNamespace(workspace={"a": 1})) == {"a": 1}


def test_without_a_name_a_job_is_called_by_the_path_of_its_function():
    assert jobs.note.job_name == NOTE
    assert jobs.write_report.job_name == "report_here"


def test_the_decorator_takes_the_keys_of_the_settings_but_for_the_tasks():
    declaration = declaration_of("report_here")

    assert declaration.tasks == ("tests.queue.jobs.write_report",)
    assert (declaration.queue_name, declaration.priority) == ("reports", 5)
    assert declaration.timeout == timedelta(seconds=60)
    assert declaration.retry.max_attempts == 3
    values = {
        **{key: "app.f" for key in KNOWN_OPTIONS if key.endswith("_hook")},
        "retry": 2,
        "timeout": 1,
        "grace": 1,
        "isolation": "process",
        "atomic": True,
        "queue_name": "q",
        "priority": 1,
        "unique": True,
    }
    assert {*values, "tasks"} == set(KNOWN_OPTIONS)
    job(**values)(plain)
    for key in values:
        assert getattr(declaration_of(plain.job_name), key) != (
            getattr(declaration_of(NOTE), key)
        ), key


# ── enqueueing ───────────────────────────────────────────────────────────────────────────────────


def test_a_decorated_function_is_enqueued_with_its_workspace_and_runs(work):
    enqueued = jobs.note.enqueue(to="you", number=5)
    assert isinstance(enqueued, Job)
    assert (enqueued.name, enqueued.next_task) == (NOTE, NOTE)
    work()

    enqueued.refresh_from_db()
    assert enqueued.state == State.COMPLETE
    assert jobs.calls == [{"to": "you", "number": 5}]


def test_every_name_may_be_a_key_of_the_workspace():
    workspace = dict.fromkeys(["self", "name", "workspace", "queue_name", "priority", "using"], 1)

    for enqueue in (jobs.note.enqueue, jobs.note.using(priority=3).enqueue):
        enqueued = Job.objects.get(pk=enqueue(**workspace).pk)
        assert enqueued.workspace == workspace
        assert enqueued.queue_name == "default"


def test_a_job_has_the_queue_and_the_priority_that_are_declared(work):
    jobs.write_report.enqueue()
    work(queue="reports")

    assert jobs.calls == [("reports", 5)]


def test_using_says_what_is_different_and_changes_nobody_else():
    mail = jobs.write_report.using(queue_name="mail", run_after=LATER)
    urgent = mail.using(priority=9)
    rows = [Job.objects.get(pk=each.enqueue(a=1).pk) for each in (jobs.write_report, mail, urgent)]

    assert [(row.queue_name, row.priority, row.run_after) for row in rows] == [
        ("reports", 5, None),
        ("mail", 5, LATER),
        ("mail", 9, LATER),
    ]


def test_using_says_nothing_of_what_is_usual_by_accident():
    enqueued = jobs.write_report.using(queue_name="default", priority=0).enqueue()

    assert (enqueued.queue_name, enqueued.priority) == ("default", 0)


def test_a_time_may_be_said_as_how_long_from_now():
    enqueued = jobs.note.using(run_after=timedelta(minutes=5)).enqueue()

    assert timedelta(minutes=4) < enqueued.run_after - timezone.now() <= timedelta(minutes=5)


@pytest.mark.parametrize("by", [jobs.write_report, jobs.write_report.using(priority=5)])
def test_a_decorated_function_is_enqueued_many_times_at_once(by):
    assert by.enqueue_many({"number": number} for number in range(20)) == 20

    assert Job.objects.filter(name="report_here", queue_name="reports", priority=5).count() == 20


def test_a_decorated_function_is_enqueued_by_its_name_too(work):
    queue.enqueue(NOTE, {"by": "name"})
    Job.objects.create(name=NOTE, workspace={"by": "row"})
    work(times=2)

    assert jobs.calls == [{"by": "name"}, {"by": "row"}]


def test_a_failed_attempt_is_followed_by_another_as_declared(work):
    enqueued = jobs.fail_once.enqueue()
    work(times=2)

    enqueued.refresh_from_db()
    assert (enqueued.state, enqueued.attempts) == (State.COMPLETE, 2)


# ── what makes no sense ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": -1},
        {"retry": 0},
        {"retry": {"max_attempts": 0}},
        {"queue_name": ""},
        {"failure_hook": "no path"},
        {"name": ""},
        {"name": "n" * 256},
        {"name": 5},
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_refused_where_it_stands(options):
    with pytest.raises(InvalidDeclaration, match=rf"@job\({next(iter(options))}=…\) of .*\.plain"):
        job(**options)(plain)

    assert f"{__name__}.plain" not in declarations.declared_names()


@pytest.mark.parametrize("options", [{"retries": 3}, {"tasks": ["app.f"]}], ids=str)
def test_an_unknown_option_is_refused_where_it_stands(options):
    with pytest.raises(UnknownJobOption, match="queue_name"):
        job(**options)(plain)


def test_who_declares_several_tasks_is_told_where_to():
    with pytest.raises(UnknownJobOption, match=r"declared in settings\.JOBS"):
        job(tasks=["app.f"])(plain)


class Class:
    def method(self, job):
        pass


@pytest.mark.parametrize("what", ["report", 5, Class, Class.method, lambda job: None], ids=repr)
def test_only_a_function_of_a_module_can_be_decorated(what):
    with pytest.raises(InvalidDeclaration, match="@job stands on"):
        job(what)


# ── declared twice ───────────────────────────────────────────────────────────────────────────────


def errors():
    return [(error.id, error.msg) for error in checks.check_jobs() if error.level >= ERROR]


def test_the_jobs_declared_here_are_good():
    assert errors() == []


def test_a_function_that_is_declared_again_replaces_itself():
    job(name="twice", priority=1)(plain)
    job(name="twice", priority=2)(plain)

    assert declaration_of("twice").priority == 2
    assert errors() == []


def test_one_function_by_two_names_is_refused_where_it_stands():
    job(name="once")(plain)
    with pytest.raises(InvalidDeclaration, match=r"\.plain is job 'once'"):
        job(name="twice")(plain)

    assert plain.job_name == plain.enqueue().name == "once"


def test_two_functions_by_one_name_are_an_error_that_names_both():
    job(name="twice")(plain)
    job(name="twice")(other)

    ((check_id, message),) = errors()
    assert check_id == "django_dbq.E009"
    assert "'twice'" in message
    assert f"{__name__}.plain" in message
    assert f"{__name__}.other" in message


def test_a_function_and_the_settings_by_one_name_are_an_error_that_names_both(settings):
    job(name="twice")(plain)
    settings.JOBS = {"twice": ["tests.project.tasks.noop"]}

    ((check_id, message),) = errors()
    assert check_id == "django_dbq.E009"
    assert "settings.JOBS" in message
    assert f"{__name__}.plain" in message


@pytest.mark.parametrize("also", ["another function", "the settings"])
def test_a_job_that_is_declared_twice_cannot_be_enqueued_as_whichever_came_first(settings, also):
    job(name="twice")(plain)
    if also == "the settings":
        settings.JOBS = {"twice": ["tests.project.tasks.noop"]}
    else:
        job(name="twice")(other)
    with pytest.raises(InvalidDeclaration, match=r"@job of .*\.plain"):
        queue.enqueue("twice")

    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("options", "check_id"),
    [
        ({"failure_hook": "no.such.hook"}, "django_dbq.E004"),
        ({"retry": {"on": "NoSuchError"}}, "django_dbq.E007"),
    ],
)
def test_what_a_declaration_names_is_checked_as_in_the_settings(options, check_id):
    job(**options)(plain)

    assert [found for found, _ in errors()] == [check_id]


def test_a_function_that_is_not_at_its_path_is_an_error(monkeypatch):
    job(plain)
    monkeypatch.delattr(sys.modules[__name__], "plain")

    ((check_id, message),) = errors()
    assert (check_id, f"{__name__}.plain" in message) == ("django_dbq.E003", True)


def test_a_retention_may_name_a_job_that_is_declared_beside_its_function(settings):
    settings.DBQ = {"RETENTION": {"JOBS": {NOTE: 60, "gone": 60}}}

    assert [message.id for message in checks.check_settings()] == ["django_dbq.W002"]
    assert "'gone'" in checks.check_settings()[0].msg


# ── who knows of it ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Write an app with this module `jobs`, and have Django start with it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(discovery, "failed", {})

    def shop(name, text):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "jobs.py").write_text(text)
        return override_settings(
            INSTALLED_APPS=[
                "django.contrib.contenttypes",
                "django.contrib.auth",
                "django_dbq",
                name,
            ]
        )

    yield shop
    for module in [name for name in sys.modules if name.startswith("dbq_shop")]:
        del sys.modules[module]


def test_the_modules_of_jobs_of_all_apps_are_known_once_django_has_started(shop):
    text = "from django_dbq import job\n\n@job\ndef send(job):\n    pass\n"
    with pytest.raises(JobNotDeclared):
        declaration_of("dbq_shop_a.jobs.send")

    with shop("dbq_shop_a", text):
        assert declaration_of("dbq_shop_a.jobs.send").tasks == ("dbq_shop_a.jobs.send",)
        assert errors() == []


@pytest.mark.parametrize(
    "text", ["import no_such_module", "this is no Python", "from django_dbq import job\njob(5)"]
)
def test_a_module_of_jobs_that_cannot_be_imported_is_told_and_ends_nothing(shop, text, caplog):
    with shop("dbq_shop_b", text):
        ((check_id, message),) = errors()

    assert check_id == "django_dbq.E010"
    assert "dbq_shop_b.jobs" in message
    assert "dbq_shop_b.jobs cannot be imported" in caplog.text


def test_the_package_itself_is_imported_without_django():
    code = "import django_dbq, sys; print([m for m in sys.modules if m.startswith('django.')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(django_dbq.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "[]\n"


def test_what_the_package_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        django_dbq.no_such_name  # noqa: B018
