"""A rival's room: what is installed for it, its database, its processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path

from benchmarks.machine import REPOSITORY
from benchmarks.rivals import stores
from benchmarks.rivals.rival import Rival, Variant
from tests.matrix import find_interpreter

PROJECTS = Path(__file__).resolve().parent / "projects"
PYTHONS = ("3.13", "3.12")  # some rivals need 3.12; all are measured with the same
INSTALL_SECONDS = 600
DO_SECONDS = 300


class NotMeasuredError(Exception):
    """This rival cannot be measured, and why."""


class Room:
    """Everything of one rival that is on this machine, below one directory."""

    def __init__(self, key: str, rival: Rival, cache: Path) -> None:
        self.key = key
        self.rival = rival
        self.directory = cache.resolve() / key
        self.project = self.directory / "project"
        self.log = self.directory / "worker.log"
        self.starts = self.directory / "starts"
        self._database = f"bench_rivals_{os.getpid()}_{key}"
        self._template = f"{self._database}_empty"
        self._may_flush = False  # the Redis database is empty, and so ours

    # What is installed

    def install(self) -> None:
        """Install the rival, unless what is there is what its adapter asks for."""
        stamp = self.directory / "installed"
        wanted = "\n".join([interpreter(), *self.rival.requirements, *self.rival.packages])
        if not (stamp.exists() and stamp.read_text() == wanted):
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir(parents=True)
            if self.rival.requirements:
                self._run([".ci/venv", interpreter(), f"{self.directory}/venv"], INSTALL_SECONDS)
                pip = [f"{self.directory}/venv/bin/python", "-m", "pip", "install", "--quiet"]
                self._run([*pip, *self.rival.requirements], INSTALL_SECONDS)
            if self.rival.packages:
                npm = ["npm", "install", "--no-audit", "--no-fund", f"--prefix={self.directory}"]
                self._run([*npm, *self.rival.packages], INSTALL_SECONDS)
            stamp.write_text(wanted)
        # Beside node_modules, since that is where Node looks for them.
        shutil.copytree(
            PROJECTS / (self.rival.project or self.key), self.project, dirs_exist_ok=True
        )
        for shared in PROJECTS.glob("*.py"):
            shutil.copy(shared, self.project)

    @cached_property
    def environment(self) -> dict[str, str]:
        """What every process of the rival is given."""
        programs = (self.directory / "venv/bin", self.directory / "node_modules/.bin")
        return {
            **os.environ,
            **stores.postgresql_environment(self._database),
            "REDIS_URL": stores.redis_url(),
            "SQLITE_FILE": str(self.directory / "jobs.sqlite3"),
            "STARTS_FILE": str(self.starts),
            "PYTHONPATH": str(self.project),
            "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
            **self.rival.environment,
        }

    # Its database

    def prepare(self) -> None:
        """Make the schema once. Each run gets a copy of this database."""
        if self.rival.store.name == "Redis":
            if self._ask_redis("DBSIZE"):
                raise NotMeasuredError("the Redis database has keys; name an empty one: REDIS_URL")
            self._may_flush = True
        self.drop()
        stores.administer(f"CREATE DATABASE {self._database}")
        self.do("prepare")
        stores.administer(f"ALTER DATABASE {self._database} RENAME TO {self._template}")

    def empty(self) -> None:
        """Databases as they are after `prepare`: without jobs, and without what a run left."""
        stores.administer(
            f"DROP DATABASE IF EXISTS {self._database} WITH (FORCE)",
            f"CREATE DATABASE {self._database} TEMPLATE {self._template}",
        )
        if self._may_flush:
            self._ask_redis("FLUSHDB")
        if self.rival.store.name == "SQLite":
            for path in self.directory.glob("jobs.sqlite3*"):
                path.unlink()
            self.do("prepare")

    def fill(self, jobs: int, variant: Variant) -> None:
        self.empty()
        self.do("fill", str(jobs), variant=variant)
        stores.analyze(self.environment)

    def drop(self) -> None:
        names = (self._database, self._template)
        stores.administer(*(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in names))

        if self._may_flush:
            self._ask_redis("FLUSHDB")

    def _ask_redis(self, word: str) -> int:
        with closing(stores.RedisConnection(self.environment["REDIS_URL"])) as redis:
            return redis.ask(word)

    # Its processes

    def do(self, *words: str, variant: Variant | None = None) -> None:
        """Run the program of the project that makes the schema and enqueues."""
        self._run([*self.rival.do, *words], DO_SECONDS, variant=variant)

    @contextmanager
    def workers(self, variant: Variant) -> Iterator[list[subprocess.Popen[bytes]]]:
        """The worker processes, in groups of their own, which are killed at the end."""
        environment = {**self.environment, **variant.environment}
        started = []
        try:
            with self.log.open("wb") as log:
                for _ in range(variant.copies):
                    process = subprocess.Popen(
                        variant.command,
                        cwd=self.project,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                    started.append(process)
            yield started
        finally:
            for process in started:
                with suppress(ProcessLookupError):  # it ended by itself
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _run(self, command: list[str], seconds: int, variant: Variant | None = None) -> None:
        environment = {**self.environment, **(variant.environment if variant else {})}
        done = subprocess.run(
            command,
            cwd=self.project if self.project.exists() else REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise NotMeasuredError(f"{' '.join(command)}: {last_words(done.stdout)}")


def last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no word of it"


@cache
def interpreter() -> str:
    """The newest Python that all rivals run on, or else our own."""
    return next(filter(None, map(find_interpreter, PYTHONS)), sys.executable)


def interpreter_version() -> str:
    code = "import platform; print(platform.python_version())"
    return subprocess.check_output([interpreter(), "-c", code], text=True).strip()
