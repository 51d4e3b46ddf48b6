"""What the compatibility tests share."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.compat import functions
from tests.compat.processes import Process, Published33, environment

STARTS_PROCESSES = {"worker_process", "published_33"}

_numbers = itertools.count(1)


@pytest.hookimpl(tryfirst=True)  # before `-m processes` looks at the marks
def pytest_collection_modifyitems(items):
    for item in items:
        if STARTS_PROCESSES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("processes")


@pytest.fixture
def declare(settings, monkeypatch):
    """Declare a job in `settings.JOBS` from functions; returns its entry, with dotted paths.

    Functions written inside a test are put into `tests.compat.functions` until its end, each under
    a name that no other test gets.
    """
    settings.JOBS = {}
    paths = {}

    def path_of(function):
        if isinstance(function, str):
            return function
        if function not in paths:
            name = function.__name__
            if getattr(functions, name, None) is not function:
                name = f"{name.strip('<>')}_{next(_numbers)}"
                monkeypatch.setattr(functions, name, function, raising=False)
            paths[function] = f"{functions.__name__}.{name}"
        return paths[function]

    def declare(job_name, *tasks, **hooks):
        entry = {"tasks": [path_of(task) for task in tasks]}
        entry.update((key, path_of(hook)) for key, hook in hooks.items())
        settings.JOBS = {**settings.JOBS, job_name: entry}
        return entry

    return declare


@pytest.fixture
def work():
    """Run jobs of a queue in this process, one saved step at a time."""
    from django_dbq.management.commands.worker import Worker

    def work(steps=1, *, queue_name="default"):
        worker = Worker(queue_name, 0)
        for _ in range(steps):
            worker._process_job()

    return work


@pytest.fixture
def folder(tmp_path):
    """Where tests and the tasks of worker processes leave each other messages."""
    return tmp_path


@pytest.fixture
def notes(folder):
    """A function that returns what `functions.note` has written down so far, oldest first."""

    def notes():
        file = folder / "notes"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    return notes


@pytest.fixture
def worker_process(transactional_db, settings, folder):
    """Start `manage.py worker` with these arguments on the test's database, and end it at last.

    It knows `settings.JOBS` and `settings.DBQ` as they are when it starts.
    """
    started = []

    def start(*arguments):
        variables = environment(settings_module="tests.compat.process_settings")
        started.append(Process(["worker", *arguments], folder=folder, variables=variables))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def migrate(transactional_db):
    """Migrate the app to a migration, or to the latest; it is at the latest again afterwards."""

    def migrate(target=None):
        target = [] if target is None else [target]
        call_command("migrate", "django_dbq", *target, verbosity=0, interactive=False)

    yield migrate
    migrate()


@pytest.fixture(scope="session")
def package_33(request):
    """The folder with the published 3.3, installed once and kept between runs."""
    cache = Path(request.config.rootpath, ".cache")
    package = cache / "django-db-queue-3.3.0"
    if not package.exists():
        cache.mkdir(exist_ok=True)
        (cache / ".gitignore").write_text("*\n")
        # Under another name until it is whole: an install that breaks off leaves nothing behind.
        unfinished = Path(tempfile.mkdtemp(dir=cache))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--target", str(unfinished), "django-db-queue==3.3.0"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(
                "This test needs the published django-db-queue 3.3.0, and pip could not install "
                f"it:\n{done.stdout}{done.stderr}"
            )
        unfinished.rename(package)
    return package


@pytest.fixture
def published_33(package_33, transactional_db, folder):
    """The published 3.3 on the test's database."""
    published = Published33(package_33, folder=folder)
    yield published
    for worker in published.workers:
        worker.kill()
