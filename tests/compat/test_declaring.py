"""C1 to C7: setting up, and declaring jobs in `settings.JOBS`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from unittest import mock

import pytest
from django.apps import apps
from django.db import connection

from django_dbq.models import Job
from tests.compat import functions
from tests.compat.processes import ROOT

pytestmark = pytest.mark.django_db


def table_names():
    return connection.introspection.table_names()


def project_metadata():
    return (ROOT / "pyproject.toml").read_text()


# ── C1: one name to install, one app to add, one command to run ──────────────────────────────────


def test_c01_the_distribution_is_called_django_db_queue():
    assert re.search(r'^name = "django-db-queue"$', project_metadata(), re.MULTILINE)


def test_c01_the_app_is_added_as_django_dbq():
    config = apps.get_app_config("django_dbq")

    assert (config.name, config.label) == ("django_dbq", "django_dbq")
    assert config.get_model("Job") is Job


def test_c01_migrate_creates_the_table(migrate):
    migrate("zero")
    assert "django_dbq_job" not in table_names()

    migrate()

    assert "django_dbq_job" in table_names()


def test_c01_a_project_with_no_other_app_can_migrate_and_enqueue(tmp_path):
    (tmp_path / "bare_settings.py").write_text(
        "SECRET_KEY = 'x'\n"
        "INSTALLED_APPS = ['django_dbq']\n"
        "JOBS = {'greet': {'tasks': ['os.path.exists']}}\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'db.sqlite3'}}\n"
    )
    code = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from django_dbq.models import Job\n"
        "call_command('migrate', verbosity=0)\n"
        "Job.objects.create(name='greet')\n"
        "print(Job.objects.get().state)"
    )
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "bare_settings"}
    variables["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout.strip()) == (0, "NEW"), done.stderr


# ── C2: the versions; `make test-matrix` runs the suite on them ──────────────────────────────────


def test_c02_the_package_says_that_it_runs_on_python_39_and_later():
    metadata = project_metadata()

    assert re.search(r'^requires-python = ">=3\.9"$', metadata, re.MULTILINE)
    for minor in range(9, 15):
        assert f'"Programming Language :: Python :: 3.{minor}"' in metadata


def test_c02_the_package_says_that_it_runs_on_django_42_and_later():
    metadata = project_metadata()

    # No upper bound below 6.1: an upper bound of ours would hold back our users' upgrades.
    assert re.search(r'^dependencies = \["Django>=4\.2"\]$', metadata, re.MULTILINE)
    for version in ("4.2", "5.0", "5.1", "5.2", "6.0", "6.1"):
        assert f'"Framework :: Django :: {version}"' in metadata


def test_c02_one_command_runs_the_suite_on_those_versions():
    assert re.search(r"^test-matrix\s*:", (ROOT / "Makefile").read_text(), re.MULTILINE)


# ── C4, C5: the two shapes of a declaration ──────────────────────────────────────────────────────


def test_c04_the_tasks_of_a_declared_job_run_in_the_order_of_its_list(declare, work):
    ran = []

    def first(job):
        ran.append("first")

    def second(job):
        ran.append("second")

    def third(job):
        ran.append("third")

    declare("import", second, third, first)
    job = Job.objects.create(name="import")

    work(3)

    assert ran == ["second", "third", "first"]
    job.refresh_from_db()
    assert job.state == "COMPLETE"


def test_c04_each_name_has_its_own_tasks(declare, work):
    ran = []

    def send(job):
        ran.append(("send", job.name))

    def clean(job):
        ran.append(("clean", job.name))

    declare("mail", send)
    declare("night", clean)
    Job.objects.create(name="night")
    Job.objects.create(name="mail")

    work(2)

    assert sorted(ran) == [("clean", "night"), ("send", "mail")]


def test_c05_a_bare_list_declares_a_job_too(declare, work, settings):
    ran = []

    def first(job):
        ran.append("first")

    def second(job):
        ran.append("second")

    paths = declare("import", first, second)["tasks"]
    settings.JOBS = {"import": paths}
    job = Job.objects.create(name="import")

    work(2)

    assert ran == ["first", "second"]
    job.refresh_from_db()
    assert job.state == "COMPLETE"


def test_c05_a_job_declared_as_a_bare_list_has_no_hooks(declare, settings):
    settings.JOBS = {"import": declare("import", functions.nothing)["tasks"]}

    job = Job.objects.create(name="import")

    assert job.get_pre_task_hook_name() is None
    assert job.get_post_task_hook_name() is None
    assert job.get_failure_hook_name() is None
    assert job.get_creation_hook_name() is None


def test_c05_a_job_declared_as_a_bare_list_can_fail(declare, work, settings):
    settings.JOBS = {"import": declare("import", functions.break_down)["tasks"]}
    job = Job.objects.create(name="import")

    work()

    job.refresh_from_db()
    assert job.state == "FAILED"


# ── C6: what a task is ───────────────────────────────────────────────────────────────────────────


def test_c06_a_task_gets_the_job_that_is_processed(declare, work):
    seen = []

    def task(job):
        seen.append(job)

    declare("import", task)
    created = Job.objects.create(name="import", workspace={"file": "a.csv"}, priority=3)

    work()

    (job,) = seen
    assert isinstance(job, Job)
    assert job.pk == created.pk
    assert (job.name, job.workspace, job.priority) == ("import", {"file": "a.csv"}, 3)


@pytest.mark.parametrize("value", [0, False, "text", {"workspace": 1}, ValueError("no"), object()])
def test_c06_the_return_value_of_a_task_is_ignored(declare, work, value):
    ran = []

    def task(job):
        ran.append("task")
        return value

    def following(job):
        ran.append("following")

    declare("import", task, following)
    job = Job.objects.create(name="import", workspace={"file": "a.csv"})

    work(2)

    assert ran == ["task", "following"]
    job.refresh_from_db()
    assert (job.state, job.workspace) == ("COMPLETE", {"file": "a.csv"})


def test_c06_a_task_is_looked_up_when_it_runs_so_that_it_can_be_patched(declare, work):
    """Test suites of 3.3's users replace a task's function by a mock between two jobs."""

    def task(job):
        job.workspace["ran"] = "the task itself"

    path = declare("import", task)["tasks"][0]
    first = Job.objects.create(name="import")
    work()
    second = Job.objects.create(name="import")

    with mock.patch(path) as patched:
        work()

    assert patched.call_args.args[0].pk == second.pk
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.workspace, second.workspace) == ({"ran": "the task itself"}, {})


# ── C6a: the place in the list ───────────────────────────────────────────────────────────────────


@pytest.fixture
def aba(declare):
    """A job whose list names its first task twice, and what ran of it."""
    ran = []

    def a(job):
        ran.append("a")

    def b(job):
        ran.append("b")

    entry = declare("aba", a, b, a)
    return {**entry, "ran": ran}


def test_c06a_the_same_function_may_stand_twice_in_the_list(aba, work):
    job = Job.objects.create(name="aba")

    work(10)

    assert aba["ran"] == ["a", "b", "a"]
    job.refresh_from_db()
    assert (job.state, job.next_task) == ("COMPLETE", "")


def test_c06a_the_same_function_may_stand_twice_in_a_row(declare, work):
    ran = []

    def a(job):
        ran.append("a")

    declare("aaa", a, a, a)
    job = Job.objects.create(name="aaa")

    work(10)

    assert ran == ["a", "a", "a"]
    job.refresh_from_db()
    assert job.state == "COMPLETE"


def test_c06a_next_task_stays_a_dotted_path(aba, work):
    a, b, _ = aba["tasks"]
    job = Job.objects.create(name="aba")
    paths = [Job.objects.get(pk=job.pk).next_task]

    for _ in range(3):
        work()
        paths.append(Job.objects.get(pk=job.pk).next_task)

    assert paths == [a, b, a, ""]


def test_c06a_a_job_inserted_in_bulk_keeps_its_place_too(aba, work):
    Job.objects.bulk_create([Job(name="aba"), Job(name="aba")])

    work(10)

    assert sorted(aba["ran"]) == ["a", "a", "a", "a", "b", "b"]


def test_c06a_a_row_without_a_place_goes_by_the_first_match(aba, work):
    """3.3 made the row; the first `a` is the one that is meant, since 3.3 knew no other."""
    a, _, _ = aba["tasks"]
    job = Job.objects.create(name="aba")
    Job.objects.filter(pk=job.pk).update(state="READY", next_task=a, task_index=None)

    work(10)

    assert aba["ran"] == ["a", "b", "a"]


def test_c06a_a_row_without_a_place_in_the_middle_of_its_list_goes_on_there(aba, work):
    _, b, _ = aba["tasks"]
    job = Job.objects.create(name="aba")
    Job.objects.filter(pk=job.pk).update(state="READY", next_task=b, task_index=None)

    work(10)

    assert aba["ran"] == ["b", "a"]
    job.refresh_from_db()
    assert job.state == "COMPLETE"


def test_c06a_a_place_that_does_not_fit_next_task_is_not_believed(aba, work):
    """A 3.3 worker has moved the job on: it wrote `next_task` and knows nothing of the place."""
    _, b, _ = aba["tasks"]
    job = Job.objects.create(name="aba")
    Job.objects.filter(pk=job.pk).update(state="READY", next_task=b)

    work(10)

    assert aba["ran"] == ["b", "a"]


# ── C7: read when used ───────────────────────────────────────────────────────────────────────────


def test_c07_overridden_settings_are_used_at_once(declare, work, settings):
    ran = []

    def one(job):
        ran.append("one")

    def other(job):
        ran.append("other")

    with_one = declare("import", one)
    with_other = declare("import", other)

    for entry in (with_one, with_other, with_one):
        settings.JOBS = {"import": entry}
        Job.objects.create(name="import")
        work()

    assert ran == ["one", "other", "one"]


def test_c07_a_job_that_waits_meets_the_declaration_of_the_time_it_runs(declare, work):
    ran = []

    def first(job):
        ran.append("first")

    def second(job):
        ran.append("second")

    def added(job):
        ran.append("added")

    declare("import", first, second)
    Job.objects.create(name="import")
    work()
    declare("import", first, second, added)

    work(5)

    assert ran == ["first", "second", "added"]


def test_c07_a_dict_changed_in_place_counts_as_well(declare, work, settings):
    """`mock.patch.dict` sends no `setting_changed`."""
    ran = []

    def one(job):
        ran.append("one")

    def other(job):
        ran.append("other")

    with_other = dict(declare("import", other))
    declare("import", one)
    Job.objects.create(name="import")
    work()

    with mock.patch.dict(settings.JOBS, {"import": with_other}):
        Job.objects.create(name="import")
        work()

    assert ran == ["one", "other"]


def test_c07_a_name_that_was_overridden_away_is_unknown(declare, settings):
    declare("import", functions.nothing)
    Job.objects.create(name="import")

    settings.JOBS = {}

    with pytest.raises(KeyError):
        Job.objects.create(name="import")
