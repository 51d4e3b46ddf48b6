"""Which database the tests run on, and where its server comes from.

A server comes from DBQ_TEST_POSTGRESQL_URL or DBQ_TEST_MARIADB_URL, or else is one on the standard
local port or socket that lets us in, or else a throw-away one (tests/servers.py). It is looked for
once, by

    python -m tests.databases run postgresql -- pytest

which passes it on through those variables. DBQ_TEST_IGNORE_LOCAL=1 passes over local servers.
DBQ_TEST_DRIVER=psycopg2 has Django use that where psycopg 3 is installed, too.
"""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from tests.servers import Server

KINDS = ("sqlite", "postgresql", "mariadb")
ALIASES = ("default", "other")  # "other" is for tests of --database
URL_VARIABLES = {
    "postgresql": "DBQ_TEST_POSTGRESQL_URL",
    "mariadb": "DBQ_TEST_MARIADB_URL",  # a MySQL server will do
}
OLDEST_POSTGRESQL = 130000
POSTGRESQL_SOCKETS = ("/var/run/postgresql/.s.PGSQL.5432", "/tmp/.s.PGSQL.5432")
MARIADB_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")

# Exit statuses
NO_SERVER = 69  # EX_UNAVAILABLE of sysexits.h
INTERRUPTED = 130  # what shells say after Ctrl-C


class NoServer(Exception):
    """Raised when there is no server of this kind and none can be started; says why."""


# What settings.py needs


def chosen() -> str:
    kind = os.environ.get("DBQ_TEST_DATABASE", "sqlite")
    if kind not in KINDS:
        raise NoServer(f"DBQ_TEST_DATABASE is {kind!r}; it can be one of {', '.join(KINDS)}")
    return kind


def django_databases(kind: str) -> dict[str, dict[str, Any]]:
    """The DATABASES setting.

    NAME is the name of the test database too, so that a worker process which a test starts opens
    the very database the test is looking at.
    """
    names = this_run_names()
    if kind == "sqlite":
        # A file and not memory: other processes open it.
        names = {
            alias: str(Path(tempfile.gettempdir(), f"{name}.sqlite3"))
            for alias, name in names.items()
        }
        server: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3"}
    else:
        server = django_server(kind, known_url(kind))
    return {
        alias: {**server, "NAME": name, "TEST": {"NAME": name}} for alias, name in names.items()
    }


def this_run_names() -> dict[str, str]:
    """The databases of this run by alias: its child processes use them too, other runs do not."""
    run = os.environ.setdefault("DBQ_TEST_RUN", f"{os.getpid()}_{secrets.token_hex(3)}")
    return {alias: f"dbq_test_{run}_{alias}" for alias in ALIASES}


def django_server(kind: str, url: str) -> dict[str, Any]:
    """The part of a DATABASES entry that names the server, from its URL."""
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if kind == "mariadb":
        provide_mysqldb()
        options.setdefault("charset", "utf8mb4")
    else:
        postgresql_driver()
    return {
        "ENGINE": f"django.db.backends.{'mysql' if kind == 'mariadb' else kind}",
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "OPTIONS": options,
    }


def known_url(kind: str) -> str:
    """The server's URL. Kept in the environment for the processes that the tests start."""
    variable = URL_VARIABLES[kind]
    url = os.environ.get(variable) or local_server(kind)
    if url is None:
        raise NoServer(
            f"No local {kind} server lets us in. Set {variable}, or let the tests start one: "
            f"make test DB={kind}, or python -m tests.databases run {kind} -- pytest"
        )
    os.environ[variable] = url
    return url


def postgresql_driver() -> str:
    """What Django is to reach PostgreSQL by. It takes psycopg 3 where that is to be had."""
    if os.environ.get("DBQ_TEST_DRIVER") != "psycopg2":
        return "psycopg"
    sys.modules["psycopg"] = None  # type: ignore[assignment]
    return "psycopg2"


def provide_mysqldb() -> None:
    """Make `import MySQLdb` work: mysqlclient where it is installed, PyMySQL where it is not."""
    try:
        import MySQLdb  # noqa: F401
    except ImportError:
        import pymysql

        # Not PyMySQL's version. Django asks MySQLdb for mysqlclient's and refuses old ones;
        # PyMySQL does what Django needs of this one.
        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()


# Finding a server that runs


def local_server(kind: str) -> str | None:
    """The URL of a server on this machine that lets us create databases."""
    if os.environ.get("DBQ_TEST_IGNORE_LOCAL"):
        return None
    return next((url for url in local_urls(kind) if lets_us_in(kind, url)), None)


def local_urls(kind: str) -> Iterator[str]:
    superuser = "postgres" if kind == "postgresql" else "root"
    for user in dict.fromkeys([getpass.getuser(), superuser]):
        login = quote(user, safe="")
        if kind == "postgresql":
            for path in filter(os.path.exists, POSTGRESQL_SOCKETS):
                yield f"postgresql://{login}@/?{urlencode({'host': os.path.dirname(path)})}"
            yield f"postgresql://{login}@127.0.0.1:5432/"
        else:
            for path in filter(os.path.exists, MARIADB_SOCKETS):
                yield f"mysql://{login}@/?{urlencode({'unix_socket': path})}"
            yield f"mysql://{login}@127.0.0.1:3306/"


def lets_us_in(kind: str, url: str) -> bool:
    try:
        (check_postgresql if kind == "postgresql" else check_mariadb)(url)
    except Exception:
        # Of what the drivers raise when nobody listens, or somebody says no, there is no short
        # list; and either way the answer is the same.
        return False
    return True


def check_postgresql(url: str) -> None:
    """Raise unless this server is new enough and lets us create databases."""
    driver = import_module(postgresql_driver())
    server = django_server("postgresql", url)
    with closing(
        driver.connect(
            host=server["HOST"],
            port=server["PORT"] or None,
            user=server["USER"],
            password=server["PASSWORD"] or None,
            dbname="postgres",
            connect_timeout=3,
        )
    ) as connection:
        if connection.info.server_version < OLDEST_POSTGRESQL:
            raise NoServer(f"PostgreSQL {connection.info.server_version} is too old")
        cursor = connection.cursor()
        cursor.execute("SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() != (True,):
            raise NoServer(f"{server['USER']} may not create databases")


def check_mariadb(url: str) -> None:
    """Raise unless this server lets us create databases."""
    provide_mysqldb()
    import MySQLdb

    server = django_server("mariadb", url)
    where = (
        {"unix_socket": server["OPTIONS"]["unix_socket"]}
        if "unix_socket" in server["OPTIONS"]
        else {"host": server["HOST"], "port": int(server["PORT"] or 3306)}
    )
    if "unix_socket" in where:
        # Where nobody listens, PyMySQL would leave its socket open: then it is not even asked.
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.connect(where["unix_socket"])
    with closing(
        MySQLdb.connect(
            user=server["USER"], password=server["PASSWORD"], connect_timeout=3, **where
        )
    ) as connection:
        name = f"dbq_test_may_i_{os.getpid()}_{secrets.token_hex(3)}"
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute(f"DROP DATABASE {name}")


# The command line


@contextmanager
def server(kind: str) -> Iterator[str]:
    """A server of this kind for as long as the block runs; gives a word on where it is from."""
    if kind == "sqlite":
        yield "a file"
        return
    variable = URL_VARIABLES[kind]
    if os.environ.get(variable):
        yield f"the server of {variable}"
        return
    url = local_server(kind)
    if url is not None:
        os.environ[variable] = url
        yield f"a local server, {url}"
        return

    with throw_away_server(kind) as started:
        os.environ[variable] = started.url
        try:
            yield f"a throw-away server, {started.url}"
        finally:
            del os.environ[variable]


def throw_away_server(kind: str) -> AbstractContextManager[Server]:
    """A server of its own; raises NoServer where none can be started."""
    from tests import servers

    return servers.THROW_AWAY[kind](lambda url: lets_us_in(kind, url))


def run(kind: str, command: list[str]) -> int:
    """Run a command with this database, and return its exit status."""
    with server(kind) as origin:
        print(f"{kind}: {origin}", file=sys.stderr, flush=True)
        process = subprocess.Popen(command, env={**os.environ, "DBQ_TEST_DATABASE": kind})
        with signals_left_to(process):
            process.wait()
        return process.returncode


@contextmanager
def signals_left_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """On Ctrl-C or SIGTERM let the process end in its own way, before we end ourselves."""
    received = []

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        if number == signal.SIGTERM:  # Ctrl-C has reached the process by itself
            process.terminate()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        process.wait()
    if received:
        raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.databases")
    verbs = parser.add_subparsers(dest="verb", required=True)
    runner = verbs.add_parser("run", help="run a command with a server of this kind")
    runner.add_argument("kind", choices=KINDS)
    runner.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    finder = verbs.add_parser("find", help="print the URL of a server that runs already")
    finder.add_argument("kind", choices=sorted(URL_VARIABLES))
    arguments = parser.parse_args()
    try:
        if arguments.verb == "find":
            print(known_url(arguments.kind))
            return 0
        command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
        return run(arguments.kind, command or [sys.executable, "-m", "pytest"])
    except NoServer as reason:
        print(f"{arguments.kind}: {reason}", file=sys.stderr)
        return NO_SERVER
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
