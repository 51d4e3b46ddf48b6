"""Where the figures come from: machine, versions, settings. Without these they mean nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import django
from django.db import connections

REPOSITORY = Path(__file__).resolve().parent.parent

# What decides how long a commit takes.
ASKED_FOR = {
    "postgresql": ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers"),
    "mysql": (
        "innodb_flush_log_at_trx_commit",
        "sync_binlog",
        "log_bin",
        "innodb_buffer_pool_size",
    ),
    "sqlite": ("journal_mode", "synchronous"),
}


def about_the_machine() -> dict[str, str]:
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {_memory_in_gib()} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Django": django.get_version(),
    }


def commit() -> str:
    """The short id of the commit; with a plus if the package differs from it."""
    found = _git("rev-parse", "--short", "HEAD") or "unknown"
    return found + ("+" if _git("status", "--porcelain", "django_dbq", "benchmarks/*.py") else "")


def load() -> str:
    """How busy the machine was over the last minute, ourselves included."""
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except OSError:
        return "unknown"


def about_the_database(using: str) -> dict[str, str]:
    connection = connections[using]
    with connection.cursor() as cursor:
        settings = [
            f"{name}={_ask(cursor, connection.vendor, name)}" for name in _names(connection)
        ]
        return {
            "server": _server(connection, cursor),
            "driver": _driver(connection),
            "settings": ", ".join(settings),
        }


def _names(connection: Any) -> tuple[str, ...]:
    return ASKED_FOR[connection.vendor]


def _ask(cursor: Any, vendor: str, name: str) -> str:
    words = {"postgresql": f"SHOW {name}", "mysql": f"SELECT @@{name}", "sqlite": f"PRAGMA {name}"}
    cursor.execute(words[vendor])
    return str(cursor.fetchone()[0])


def _server(connection: Any, cursor: Any) -> str:
    function = "sqlite_version()" if connection.vendor == "sqlite" else "version()"
    cursor.execute(f"SELECT {function}")
    words = str(cursor.fetchone()[0]).split(" on ")[0]
    return f"SQLite {words}" if connection.vendor == "sqlite" else words


def _driver(connection: Any) -> str:
    module = connection.Database
    if module.__name__ == "pymysql":
        return f"PyMySQL {module.VERSION_STRING} (in pure Python)"
    if module.__name__ == "MySQLdb":
        return f"mysqlclient {'.'.join(map(str, module.version_info[:3]))}"
    return f"{module.__name__} {getattr(module, '__version__', '')}".strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory_in_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words],  # noqa: S607 (whichever git the developer uses)
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError:
        return ""
    return done.stdout.strip()
