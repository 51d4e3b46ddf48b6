"""What the README tells a newcomer to do works: done here in its order, in a new project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import django
import pytest

from django_dbq.rules.worlds import WORLDS
from tests.docs.test_markdown import FENCE, ROOT

pytestmark = pytest.mark.processes

README = Path("README.md")
LIFE_CYCLE = Path("docs/job-life-cycle.md")
PATIENCE_SECONDS = 120

FILE = re.compile(r"# (\S+\.py)\n")

# Runs what comes on standard input statement by statement, as the interactive Python does: a
# queryset that stands by itself is evaluated.
AS_IN_A_SHELL = """
import ast, sys, django
django.setup()
names = {}
for statement in ast.parse(sys.stdin.read()).body:
    exec(compile(ast.Interactive([statement]), "page", "single"), names)
"""


class Project:
    """A new Django project on SQLite, and a reader who does what a page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.imports: list[str] = []
        self.files: set[str] = set()
        self.commands: list[str] = []
        self.snippets: list[str] = []
        self.python("-m", "django", "startproject", "mysite", ".")
        self.manage("startapp", "shop")
        with (folder / "mysite/settings.py").open("a") as settings:
            settings.write("INSTALLED_APPS += ['shop']\n")

    def python(self, *arguments: str, given: str = "") -> str:
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith("DBQ_")
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**variables, "DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONPATH": str(ROOT)},
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, f"{arguments}\n{given}\n{done.stdout}{done.stderr}"
        return done.stdout

    def manage(self, *arguments: str) -> str:
        return self.python("manage.py", *arguments)

    def shell(self, code: str) -> str:
        return self.python("-c", AS_IN_A_SHELL, given="\n".join([*self.imports, code]))

    def work(self) -> None:
        self.manage("worker", "default", "reports", "--rate_limit", "0", "--burst")

    def follow(self, page: Path) -> None:
        for _, _, kind, code in FENCE.findall((ROOT / page).read_text().replace("\n> ", "\n")):
            if kind == "python":
                self._take(textwrap.dedent(code))
            elif kind == "console":
                for line in code.splitlines():
                    self._type(line)

    def _take(self, code: str) -> None:
        if not WORLDS and "tasks import" in code:
            return
        if django.VERSION < (6, 0):  # the page says so
            code = code.replace("from django.tasks import", "from django_tasks import")
        found = FILE.match(code)
        if found:
            if django.VERSION < (5, 1):  # the page says so
                code = code.replace(', "transaction_mode": "IMMEDIATE"', "")
            self.files.add(found[1])
            with (self.folder / found[1]).open("a") as file:
                file.write(f"\n\n{code}")
            return
        self.snippets.append(code)
        self.shell(code)
        self.imports += [line for line in code.splitlines() if re.match("from |import ", line)]

    def _type(self, line: str) -> None:
        found = re.match(r"python manage\.py (.*)", line)
        if found:
            arguments = found[1].split()
            self.commands.append(arguments[0])
            # The reader would stop it by Ctrl-C.
            self.manage(*arguments, *(["--burst"] if arguments[0] == "worker" else []))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The project of somebody who has read the README to its end, and got users by then."""
    project = Project(tmp_path_factory.mktemp("readme"))
    project.follow(README)
    project.shell(
        "from django.contrib.auth import get_user_model\n"
        "get_user_model().objects.create_user('anna')\n"
        "get_user_model().objects.create_user('bert', is_active=False)\n"
        "get_user_model().objects.create_user('carl')\n"
    )
    project.work()
    return project


def test_the_reader_has_done_everything(reader):
    files = {"mysite/settings.py", "shop/jobs.py", "shop/hooks.py"}
    assert reader.files == (files | {"shop/tasks.py"} if WORLDS else files)
    assert reader.commands == ["migrate", "worker"]
    assert len(reader.snippets) == (7 if WORLDS else 6)


@pytest.mark.skipif(not WORLDS, reason="Python 3.9 has no Tasks API")
def test_the_django_task_has_been_run(reader):
    told = reader.shell(
        "from django_dbq.models import Job\n"
        "job = Job.objects.get(name='shop.tasks.greet')\n"
        "print(job.state, job.result)\n"
    )
    assert told == "COMPLETE hello you\n"


def test_the_first_worker_has_run_the_first_job(reader):
    assert (reader.folder / "report.txt").read_text() == "0 users\n"


def test_the_projects_settings_are_good_at_the_end(reader):
    assert "no issues" in reader.manage("check")
    assert "without a rate limit" in reader.manage("worker", "--dry-run")


def test_the_jobs_made_in_bulk_run_and_the_scheduled_one_waits(reader):
    texts = {(reader.folder / f"{number}.txt").read_text() for number in range(10)}
    assert texts == {"2 users\n"}
    assert not (reader.folder / "inactive.txt").exists()
    assert reader.manage("queue_depth", "default", "reports") == (
        "event=queue_depths default=0 reports=1\n"
    )
    assert reader.manage("queue_depth", "reports", "--exclude_future_jobs") == (
        "event=queue_depths reports=0\n"
    )


def test_the_job_that_is_declared_beside_its_function_has_run(reader):
    assert (reader.folder / "anna.txt").read_text() == "Welcome, Anna\n"
    assert (reader.folder / "bert.txt").read_text() == "Welcome, Bert\n"


def test_the_hooks_run_in_the_order_of_the_table(reader):
    reader.shell(
        "Job.objects.create(name='report', priority=1, workspace={'active': True, 'file': 'a'})\n"
        "Job.objects.create(name='report', priority=2, workspace={'active': True, 'file': 'b/c'})\n"
    )
    reader.work()

    log = "print(*Job.objects.get(priority={}).workspace['log'], sep='\\n')"
    assert reader.shell(log.format(1)).splitlines() == [
        "created",
        "before shop.jobs.count",
        "after",
        "before shop.jobs.write",
        "after",
    ]
    *first, failed, last = reader.shell(log.format(2)).splitlines()
    assert first == ["created", "before shop.jobs.count", "after", "before shop.jobs.write"]
    assert "failed: [Errno 2] No such file or directory" in failed
    assert last == "after"


def test_the_story_of_a_failure_is_printed_as_shown(reader):
    reader.shell("Job.objects.create(name='report', workspace={'active': True, 'file': 'd/e'})")
    reader.work()

    printed = reader.shell(reader.snippets[-1])

    assert "shop.jobs.write builtins.FileNotFoundError" in printed
    assert "Traceback" in printed


def test_a_failure_hook_can_ask_for_another_attempt_as_shown(tmp_path):
    project = Project(tmp_path)
    project.follow(LIFE_CYCLE)
    with (tmp_path / "mysite/settings.py").open("a") as settings:
        settings.write(
            "INSTALLED_APPS += ['django_dbq']\n"
            "JOBS = {'fails': {'tasks': ['shop.jobs.fail'],\n"
            "                  'failure_hook': 'shop.hooks.try_three_times'}}\n"
        )
    (tmp_path / "shop/jobs.py").write_text("def fail(job):\n    raise ValueError(job.attempts)\n")
    project.imports = ["from django_dbq.models import Attempt, Job"]
    project.manage("migrate")
    project.shell("Job.objects.create(name='fails')")

    told = []
    for _ in range(4):
        project.work()
        look = "job = Job.objects.get(); print(job.state, job.attempts, job.run_after is not None)"
        told.append(project.shell(look).strip())
        project.shell("_ = Job.objects.update(run_after=None)")

    assert told == ["READY 1 True", "READY 2 True", "FAILED 3 False", "FAILED 3 False"]
    numbers = project.shell("print(*Attempt.objects.values_list('number', flat=True))")
    assert numbers == "1 2 3\n"
