"""`python -m example` as a person runs it: a process that starts a real worker process."""

from __future__ import annotations

import ast
import os
import re
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
import tokenize
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from tests import databases
from tests.example.conftest import python_says

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE_SECONDS = 60

# Gives a command a terminal of its own, and types there what comes in.
IN_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        databases.chosen() != "sqlite",
        reason="the example has an SQLite file of its own: once is enough",
    ),
]


class Run:
    """One `python -m example`, with a database and a log of its own."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "example.sqlite3"
        self.log = folder / "worker.log"
        self.output = folder / "output.txt"
        self.processes: list[subprocess.Popen] = []
        self.environment = {
            **os.environ,
            "EXAMPLE_DATABASE": str(self.database),
            "EXAMPLE_LOG": str(self.log),
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "TERM": "xterm",
        }
        self.environment.pop("NO_COLOR", None)

    def start(self, *arguments: str, in_terminal: bool = False) -> subprocess.Popen:
        command = [sys.executable, "-m", "example", "--summary-after", "0.5", *arguments]
        if in_terminal:
            command = [sys.executable, "-c", IN_A_TERMINAL, *command]
        with self.output.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def finish(self, *arguments: str) -> int:
        try:
            return self.start(*arguments).wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"The run did not end:\n{self.text}")

    def end(self) -> None:
        """Leave no process behind, whatever the test came to."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(DEADLINE_SECONDS)
            process.stdin.close()

    @property
    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def worker_pid(self) -> int:
        return int(re.search(r"process (\d+)", self.text)[1])

    def ask(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def states(self) -> dict[str, int]:
        return dict(self.ask("SELECT state, COUNT(*) FROM django_dbq_job GROUP BY state"))


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    yield run
    run.end()


def eventually(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.05)


def some_are_done(run: Run) -> bool:
    try:
        return run.states().get("COMPLETE", 0) >= 5
    except sqlite3.OperationalError:  # the table is not there yet, or is being made
        return False


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def started(run):
    """A run over the whole standard library, in the middle of it."""
    process = run.start()
    eventually(lambda: process.poll() is not None or some_are_done(run), "finished jobs")
    assert process.poll() is None, run.text
    return process


def test_a_part_of_the_standard_library_is_indexed(run):
    assert run.finish("json", "email", "concurrent") == 0, run.text

    modules = run.ask("SELECT COUNT(*) FROM catalog_module")[0][0]
    summaries = run.ask("SELECT modules, failures, unfinished FROM catalog_summary ORDER BY id")
    jobs = modules + len(summaries)  # one that came too early has scheduled another
    assert run.states() == {"COMPLETE": jobs}
    assert summaries[-1] == (modules, 0, 0)
    assert run.ask("SELECT name FROM catalog_module WHERE path = 'json/__init__.py'") == [("json",)]
    assert re.search(rf"{modules} modules in [\d.]+ s, [\d,]+ jobs/s", run.text)
    assert f"{jobs} of {jobs} jobs (100%)" in run.text
    assert "manage.py runserver" in run.text
    assert not is_alive(run.worker_pid)
    assert "\x1b" not in run.text


def test_files_that_do_not_parse_end_failed_with_their_story_told(run, library):
    assert run.finish("--library", str(library)) == 0, run.text

    assert run.states()["FAILED"] == 2
    assert run.ask("SELECT COUNT(*) FROM catalog_module") == [(4,)]
    failed = dict(run.ask("SELECT path, message FROM catalog_failure"))
    assert sorted(failed) == ["broken.py", "coding.py"]
    attempts = run.ask("SELECT exception, message FROM django_dbq_attempt")
    assert any(python_says("broken.py") in message for _, message in attempts)
    assert f"broken.py:2  {python_says('broken.py')}" in run.text
    assert "Traceback" not in run.text
    assert "Traceback" in run.log.read_text()


def test_what_the_standard_library_cannot_parse_itself_fails_too(run):
    """Its own bad files, where the Python that runs us has them."""
    standard_library = Path(sysconfig.get_path("stdlib"))
    for folder in ("test/tokenizedata", "test/test_lib2to3/data", "lib2to3/tests/data"):
        bad = [path for path in sorted(standard_library.glob(f"{folder}/*.py")) if is_bad(path)]
        if bad:
            break
    else:
        pytest.skip("this Python came without the tests of its standard library")

    assert run.finish("--library", str(standard_library / folder)) == 0, run.text

    failed = [path for (path,) in run.ask("SELECT path FROM catalog_failure ORDER BY path")]
    assert [path for path in failed if "/" not in path] == [file.name for file in bad]
    assert run.states()["FAILED"] == len(failed)


def is_bad(file: Path) -> bool:
    try:
        with tokenize.open(file) as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source.read())
    except (SyntaxError, UnicodeDecodeError):
        return True
    return False


def test_a_second_run_begins_anew(run, library):
    assert run.finish("--library", str(library)) == 0
    before = run.states()

    assert run.finish("--library", str(library)) == 0

    assert run.states()["FAILED"] == before["FAILED"] == 2
    assert run.ask("SELECT COUNT(*) FROM catalog_module") == [(4,)]


def test_packages_are_taken_before_single_modules(run):
    assert run.finish("--processes", "1", "json", "email", "abc", "ast") == 0, run.text

    priorities = dict(run.ask("SELECT id, priority FROM django_dbq_job"))
    finished = re.findall(r"id=(\S+) .*task=example\.catalog\.tasks\.read ", run.log.read_text())
    in_order = [priorities[job_id.replace("-", "")] for job_id in finished]
    assert in_order == sorted(in_order, reverse=True)
    assert set(in_order) == {10, 0}


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_it_stops_when_asked_and_leaves_the_rest_for_later(run, started, name):
    started.send_signal(getattr(signal, name))

    assert started.wait(DEADLINE_SECONDS) == 128 + getattr(signal, name)
    assert "Traceback" not in run.text
    assert re.search(r"Stopped, with [\d,]+ jobs left\. To go on with them: .*worker", run.text)
    assert not is_alive(run.worker_pid)
    assert set(run.states()) <= {"NEW", "READY", "COMPLETE", "FAILED"}  # nothing is held


def test_in_a_terminal_it_draws_a_bar_and_ctrl_c_stops_it(run):
    process = run.start(in_terminal=True)
    eventually(lambda: process.poll() is not None or some_are_done(run), "finished jobs")

    process.stdin.write(b"\x03")
    process.stdin.flush()

    assert process.wait(DEADLINE_SECONDS) == 128 + signal.SIGINT, run.text
    assert re.search(r"\x1b\[2K.*░.*jobs/s", run.text)
    assert "Stopped, with" in run.text
    assert "Traceback" not in run.text
    assert run.text.count("\x1b[?25l") == run.text.count("\x1b[?25h") > 0  # the cursor is back
    assert not is_alive(run.worker_pid)


def test_a_worker_that_dies_is_told_of_and_the_run_fails(run, started):
    os.kill(run.worker_pid, signal.SIGKILL)

    assert started.wait(DEADLINE_SECONDS) == 1
    assert "The worker died (ended by signal 9)" in run.text
    assert str(run.log) in run.text
    assert "Where to look next" not in run.text


def test_a_worker_process_that_dies_is_replaced_and_nothing_is_lost(run):
    process = run.start("--processes", "2", "asyncio", "email", "idlelib", "unittest")
    eventually(lambda: process.poll() is not None or some_are_done(run), "finished jobs")
    ((pid,), *_) = run.ask("SELECT pid FROM django_dbq_workerprocess ORDER BY id")

    os.kill(pid, signal.SIGKILL)

    assert process.wait(DEADLINE_SECONDS) == 0, run.text
    assert set(run.states()) == {"COMPLETE"}
    (modules,) = run.ask("SELECT COUNT(*) FROM django_dbq_job WHERE name = 'index_module'")
    assert run.ask("SELECT COUNT(*) FROM catalog_module") == [modules]
    assert f"Worker process {pid} is gone" in run.text


def test_a_worker_that_cannot_start_is_told_of_with_its_own_words(run, library):
    assert run.finish("--library", str(library), "--processes", "-5") == 1

    assert "The worker died" in run.text
    assert "--processes" in run.text.split("It said last:")[1]


def test_a_library_without_modules_is_no_library(run, tmp_path):
    (tmp_path / "empty").mkdir()

    assert run.finish("--library", str(tmp_path / "empty")) == 1
    assert f"There is no Python file below {tmp_path / 'empty'}" in run.text


def test_an_unknown_package_is_named(run):
    assert run.finish("no_such_package") == 1
    assert "There is no Python file of no_such_package below" in run.text


def test_a_file_that_is_no_database_is_named(run):
    run.database.write_text("not a database, but long enough to be taken for one " * 100)

    assert run.finish("json") == 1
    assert str(run.database) in run.text
    assert "Traceback" not in run.text
