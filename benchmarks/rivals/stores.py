"""Where a rival keeps its jobs, and how many of them are still to be done."""

from __future__ import annotations

import getpass
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, unquote, urlsplit

import psycopg

from benchmarks.machine import ASKED_FOR
from tests import databases


class Store(Protocol):
    """What is asked of each of them."""

    name: str

    def counter(self, environment: dict[str, str]) -> AbstractContextManager[Callable[[], int]]:
        """A function that says how many jobs are to be done: waiting, held or failed."""


@dataclass(frozen=True)
class PostgreSQL:
    """Jobs are rows; `remaining` is a query that counts those that are still to be done."""

    remaining: str
    name: str = "PostgreSQL"

    @contextmanager
    def counter(self, environment: dict[str, str]) -> Iterator[Callable[[], int]]:
        with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
            yield lambda: int(_value(connection, self.remaining))


@dataclass(frozen=True)
class SQLite:
    """The same, in the file that SQLITE_FILE names."""

    remaining: str
    name: str = "SQLite"

    @contextmanager
    def counter(self, environment: dict[str, str]) -> Iterator[Callable[[], int]]:
        file = environment["SQLITE_FILE"]
        with closing(sqlite3.connect(file, timeout=30)) as connection:
            yield lambda: int(connection.execute(self.remaining).fetchone()[0])


@dataclass(frozen=True)
class Redis:
    """Jobs are in lists and the like; the answers of the commands in `remaining` are added up."""

    remaining: tuple[tuple[str, ...], ...]
    name: str = "Redis"

    @contextmanager
    def counter(self, environment: dict[str, str]) -> Iterator[Callable[[], int]]:
        with closing(RedisConnection(environment["REDIS_URL"])) as redis:
            yield lambda: sum(redis.ask(*command) for command in self.remaining)


class RedisConnection:
    """As much of a client as is needed: commands that are answered by a number or a word."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port or 6379), timeout=30)
        self._answers = self._socket.makefile("rb")
        if parts.password:
            self.ask("AUTH", parts.password)
        self.ask("SELECT", parts.path.strip("/") or "0")

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, *words: str) -> int:
        self._socket.sendall(" ".join(words).encode() + b"\r\n")
        answer = self._answers.readline().decode().strip()
        if answer.startswith("-"):
            raise OSError(f"Redis, asked {words[0]}: {answer[1:]}")
        return int(answer[1:]) if answer.startswith(":") else 0


# The servers


@contextmanager
def postgresql_server() -> Iterator[None]:
    """The server that PGHOST names, or one of this machine that lets us in, or a throw-away one."""
    if "PGHOST" in os.environ:
        yield
        return
    with _local_or_throw_away() as url:
        parts = urlsplit(url)
        host = parts.hostname or parse_qs(parts.query)["host"][0]
        os.environ |= {"PGHOST": host, "PGPORT": str(parts.port or 5432)}
        os.environ.setdefault("PGUSER", unquote(parts.username or ""))
        yield


@contextmanager
def _local_or_throw_away() -> Iterator[str]:
    # Not every rival finds a socket. Ours would gain by it.
    for url in databases.local_urls("postgresql"):
        if urlsplit(url).hostname and databases.lets_us_in("postgresql", url):
            yield url
            return
    with databases.throw_away_server("postgresql") as server:
        yield server.url


def postgresql_environment(database: str) -> dict[str, str]:
    """How libpq finds the database, and the same as a URL."""
    given = {
        "PGHOST": os.environ["PGHOST"],
        "PGPORT": os.environ.get("PGPORT", "5432"),
        "PGUSER": os.environ.get("PGUSER", getpass.getuser()),
        "PGPASSWORD": os.environ.get("PGPASSWORD", ""),
        "PGDATABASE": database,
    }
    host, port = given["PGHOST"], given["PGPORT"]
    login = quote(given["PGUSER"]) + f":{quote(given['PGPASSWORD'])}" * bool(given["PGPASSWORD"])
    url = f"postgresql://{login}@{host}:{port}/{database}"
    if host.startswith("/"):
        url = f"postgresql://{login}@/{database}?host={quote(host)}&port={port}"
    return {**given, "DATABASE_URL": url}


def redis_url() -> str:
    return os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/15")


def administer(*statements: str) -> None:
    """Send statements that make and drop databases."""
    url = postgresql_environment("postgres")["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def analyze(environment: dict[str, str]) -> None:
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("ANALYZE")


def about_the_servers() -> dict[str, str]:
    url = postgresql_environment("postgres")["DATABASE_URL"]
    with psycopg.connect(url) as connection:
        version = str(_value(connection, "SELECT version()")).split(" on ")[0]
        settings = [
            f"{name}={_value(connection, f'SHOW {name}')}" for name in ASKED_FOR["postgresql"]
        ]
    return {"server": version, "settings": ", ".join(settings)}


def _value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
