"""The Django project that the tests use. DBQ_TEST_DATABASE says on which database."""

from __future__ import annotations

from django_dbq.rules.worlds import WORLDS
from tests import databases

SECRET_KEY = "not a secret: this project exists for the tests only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.project.urls"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_dbq",
]

DATABASES = databases.django_databases(databases.chosen())

if WORLDS:
    TASKS = {
        "default": {"BACKEND": "django_dbq.task_backend.DatabaseBackend", "QUEUES": []},
    }

JOBS = {
    "noop": {"tasks": ["tests.project.tasks.noop"]},
    "three_steps": {
        "tasks": [
            "tests.project.tasks.append_first",
            "tests.project.tasks.append_second",
            "tests.project.tasks.append_third",
        ],
    },
    "same_task_twice": {
        "tasks": [
            "tests.project.tasks.append_first",
            "tests.project.tasks.append_second",
            "tests.project.tasks.append_first",
        ],
    },
    "short_form": ["tests.project.tasks.append_first", "tests.project.tasks.append_second"],
    "with_hooks": {
        "tasks": ["tests.project.tasks.append_first"],
        "creation_hook": "tests.project.tasks.creation_hook",
        "pre_task_hook": "tests.project.tasks.pre_task_hook",
        "post_task_hook": "tests.project.tasks.post_task_hook",
        "failure_hook": "tests.project.tasks.failure_hook",
    },
    "fails": {
        "tasks": ["tests.project.tasks.append_first", "tests.project.tasks.fail"],
        "pre_task_hook": "tests.project.tasks.pre_task_hook",
        "post_task_hook": "tests.project.tasks.post_task_hook",
        "failure_hook": "tests.project.tasks.failure_hook",
    },
    "exits": {"tasks": ["tests.project.tasks.exit_process"]},
    "raises_base_exception": {"tasks": ["tests.project.tasks.raise_base_exception"]},
    "closes_connection": {"tasks": ["tests.project.tasks.close_connection"]},
    "leaves_transaction_open": {"tasks": ["tests.project.tasks.leave_transaction_open"]},
    "breaks_transaction": {"tasks": ["tests.project.tasks.break_transaction"]},
    "deletes_itself": {"tasks": ["tests.project.tasks.delete_own_job"]},
    "waits_for_file": {"tasks": ["tests.project.tasks.wait_for_file"]},
}
