"""Where a rival keeps its jobs, and how many of them are still to be done."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg


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
            yield lambda: int(connection.execute(self.remaining).fetchone()[0])


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
    """As much of a client as the harness needs: commands that are answered by a number or a word."""

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


# The databases of a run


def postgresql_environment(database: str) -> dict[str, str]:
    """How libpq finds the database, and the same as a URL."""
    given = {
        "PGHOST": os.environ.get("PGHOST", "127.0.0.1"),
        "PGPORT": os.environ.get("PGPORT", "5432"),
        "PGUSER": os.environ.get("PGUSER", "root"),
        "PGPASSWORD": os.environ.get("PGPASSWORD", ""),
        "PGDATABASE": database,
    }
    login = given["PGUSER"] + (":" + given["PGPASSWORD"]) * bool(given["PGPASSWORD"])
    url = f"postgresql://{login}@{given['PGHOST']}:{given['PGPORT']}/{database}"
    return {**given, "DATABASE_URL": url}


def administer(*statements: str) -> None:
    """Send statements that make and drop databases."""
    url = postgresql_environment("postgres")["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def analyze(environment: dict[str, str]) -> None:
    with psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("ANALYZE")


def remove_sqlite(file: Path) -> None:
    for path in file.parent.glob(file.name + "*"):
        path.unlink()
