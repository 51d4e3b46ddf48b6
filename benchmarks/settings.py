"""The Django project that is measured: everything that can be left at its default is.

DBQ_TEST_DATABASE says on which database; tests/databases.py finds its server.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests import databases

SECRET_KEY = "no secret: this project exists while it is measured"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django_dbq", "benchmarks"]

# Made by benchmarks/__main__.py, and removed by it. Worker processes inherit them.
RUN = os.environ.get("DBQ_BENCH_RUN", "by_hand")
DIRECTORY = Path(os.environ.get("DBQ_BENCH_DIRECTORY", "."))


def _databases(kind: str) -> dict[str, dict[str, object]]:
    # "crowded" has a second table of jobs, so that a full one and an empty one take turns. A worker
    # has no such second database to look after, as most projects have not.
    aliases = os.environ.get("DBQ_BENCH_ALIASES", "default,crowded").split(",")
    names = {alias: f"dbq_bench_{RUN}_{alias}" for alias in aliases}
    if kind == "sqlite":
        names = {alias: str(DIRECTORY / f"{name}.sqlite3") for alias, name in names.items()}
        server: dict[str, object] = {"ENGINE": "django.db.backends.sqlite3"}
    else:
        server = databases.django_server(kind, databases.known_url(kind))
    return {
        alias: {**server, "NAME": name, "TEST": {"NAME": name}} for alias, name in names.items()
    }


DATABASES = _databases(databases.chosen())

TASKS = {"default": {"BACKEND": "django_dbq.task_backend.DatabaseBackend"}}

JOBS = {
    "noop": ["benchmarks.tasks.noop"],
    "changes_workspace": ["benchmarks.tasks.change_workspace"],
    "three_tasks": [
        "benchmarks.tasks.noop",
        "benchmarks.tasks.noop_too",
        "benchmarks.tasks.noop_as_well",
    ],
    "meets": ["benchmarks.tasks.meet"],
    "signs": ["benchmarks.tasks.sign"],
    "stamps": ["benchmarks.tasks.stamp"],
    "waits": ["benchmarks.tasks.wait"],
    "waits_for_nothing": ["benchmarks.tasks.wait_for_nothing"],
}

TASKS = {"default": {"BACKEND": "django_dbq.task_backend.DatabaseBackend"}}
