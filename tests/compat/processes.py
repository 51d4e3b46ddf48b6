"""Real processes on the test's database: `manage.py worker`, and the published 3.3."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from tests.compat.waiting import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[2]


def environment(*, settings_module, python_path=()):
    """The variables that lead a Python process to the test's database and to `settings.JOBS`."""
    name = str(connection.settings_dict["NAME"])
    if "memory" in name:
        pytest.fail(f"Another process cannot reach the test database {name!r}; it must be a file.")
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings_module,
        "DBQ_TEST_DATABASE_NAME": name,
        "COMPAT_JOBS": json.dumps(settings.JOBS),
        "COMPAT_DBQ": json.dumps(getattr(settings, "DBQ", {})),
        "PYTHONPATH": os.pathsep.join([*map(str, python_path), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
    }


class Process:
    """A running `manage.py` command, its output, and the means to signal it."""

    def __init__(self, arguments, *, folder, variables):
        self.log = folder / f"process-{len(list(folder.glob('process-*')))}.log"
        with self.log.open("w") as log:
            # `python -m django` is `manage.py` without a file. It runs in another folder, since
            # the working directory would come before PYTHONPATH and hide the published 3.3.
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "django", *map(str, arguments)],
                cwd=folder,
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self):
        return self.popen.pid

    @property
    def output(self):
        return self.log.read_text()

    @property
    def runs(self):
        return self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def signal_group(self, number):
        """Signal it and all that it started, as a terminal does on Ctrl+C."""
        os.killpg(self.popen.pid, number)

    def wait_until(self, condition, what):
        return wait_until(condition, what, story=lambda: self.output)

    def exit_code(self):
        """Wait for the end."""
        self.wait_until(lambda: not self.runs, "the process ended")
        return self.popen.returncode

    def kill(self):
        """End it and whatever it started, whatever they are doing."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(PATIENCE_SECONDS)


class Published33:
    """The published 3.3 in a folder of its own, run in processes that import it and not ours."""

    def __init__(self, package, *, folder):
        self.package, self.folder = package, folder
        self.workers = []

    def variables(self):
        path = [self.package, Path(__file__).parent / "published"]
        return environment(settings_module="tests.compat.old_settings", python_path=path)

    def run(self, code):
        """Run Python code in a process of 3.3, with Django set up; what it prints."""
        preamble = (
            "import django, django_dbq; django.setup(); assert django_dbq.__version__ == '3.3.0'"
        )
        return self._checked("-c", f"{preamble}\n{code}")

    def manage(self, *arguments):
        """Run a `manage.py` command of 3.3; what it prints."""
        return self._checked("-m", "django", *arguments)

    def start_worker(self, *arguments):
        worker = Process(["worker", *arguments], folder=self.folder, variables=self.variables())
        self.workers.append(worker)
        return worker

    def _checked(self, *arguments):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=self.folder,
            env=self.variables(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
