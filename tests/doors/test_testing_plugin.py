"""The pytest plugin: fixtures of what `django_dbq.testing` has, in a user's own project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from django_dbq.testing import pytest_plugin

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django_dbq"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
USE_TZ = True
JOBS = {"greet": {"tasks": ["jobs.greet"]}}
"""

JOBS = """
def greet(job):
    job.workspace["greeting"] = "hello"
"""

TESTS = """
from datetime import timedelta

import pytest
from django.utils import timezone

pytestmark = pytest.mark.django_db

def test_all_fixtures(
    dbq_run_jobs, dbq_assert_enqueued, dbq_assert_not_enqueued, dbq_captured_jobs, dbq_clock
):
    from django_dbq.models import Job

    with dbq_captured_jobs() as jobs:
        Job.objects.create(name="greet", run_after=timezone.now() + timedelta(hours=1))
    assert [job.name for job in jobs] == ["greet"]
    dbq_assert_enqueued("greet", run_after=timedelta(hours=1))
    assert dbq_run_jobs() == []
    dbq_clock.forward(hours=1)
    (job,) = dbq_run_jobs().complete
    assert job.workspace == {"greeting": "hello"}
    dbq_assert_not_enqueued("greet")

def test_the_clock_is_back(dbq_run_jobs):
    from django_dbq.models import Job

    Job.objects.create(name="greet", run_after=timezone.now() + timedelta(minutes=30))
    assert dbq_run_jobs() == []
"""

WITHOUT_DJANGO = """
import sys

def test_nothing_was_imported():
    assert "django_dbq.testing.pytest_plugin" in sys.modules
    ours = {name for name in sys.modules if name.startswith("django_dbq")}
    assert ours == {"django_dbq", "django_dbq.testing", "django_dbq.testing.pytest_plugin"}
    assert not [name for name in sys.modules if name == "django" or name.startswith("django.")]
"""


@pytest.fixture
def run_pytest(tmp_path):
    """Run pytest in a project of its own; returns how it ended, and what it printed."""

    def run_pytest(*plugins, **files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DBQ_", "DJANGO_", "PYTEST_"))
        }
        # Not by the entry point: that of another checkout may be installed.
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(tmp_path)])
        if "project_settings" in files:
            environment["DJANGO_SETTINGS_MODULE"] = "project_settings"
        named = [part for name in plugins for part in ("-p", name)]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-W", "error", *named, str(tmp_path)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    return run_pytest


def test_each_fixture_does_what_its_function_does(run_pytest):
    files = {"project_settings": SETTINGS, "jobs": JOBS, "test_jobs": TESTS}

    code, printed = run_pytest("pytest_django.plugin", pytest_plugin.__name__, **files)

    assert (code, "2 passed" in printed) == (0, True), printed


def test_in_a_project_without_django_the_plugin_imports_nothing_and_does_no_harm(run_pytest):
    code, printed = run_pytest(pytest_plugin.__name__, test_plain=WITHOUT_DJANGO)

    assert (code, "1 passed" in printed) == (0, True), printed


def test_the_plugin_is_declared_so_that_pytest_finds_it_by_itself():
    declared = (ROOT / "pyproject.toml").read_text().partition("[project.entry-points.pytest11]")[2]

    assert f'django_dbq = "{pytest_plugin.__name__}"' in declared.partition("[")[0]


def test_each_function_for_tests_has_its_fixture():
    from django_dbq import testing

    functions = {name for name in testing.__all__ if name.islower()} - {"move_clock"}
    fixtures = {name for name in vars(pytest_plugin) if name.startswith("dbq_")}

    assert fixtures == {f"dbq_{name}" for name in functions} | {"dbq_clock"}


def test_every_name_of_the_package_is_there():
    from django_dbq import testing

    assert all(getattr(testing, name) for name in testing.__all__)
    with pytest.raises(AttributeError, match="run_job"):
        testing.run_job  # noqa: B018
