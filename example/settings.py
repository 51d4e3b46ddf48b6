"""Settings of the example. What a project needs for its queue stands first."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import django

HERE = Path(__file__).resolve().parent

# ------------------------------------------------------------------------- the queue

INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "django_dbq",
    "example.catalog",
]

JOBS = {
    # One per module: three tasks, which tell each other what they found through the workspace.
    "index_module": {
        "tasks": [
            "example.catalog.tasks.read",
            "example.catalog.tasks.parse",
            "example.catalog.tasks.store",
        ],
        "creation_hook": "example.catalog.hooks.on_creation",
        "pre_task_hook": "example.catalog.hooks.before_task",
        "post_task_hook": "example.catalog.hooks.after_task",
        "failure_hook": "example.catalog.hooks.on_failure",
    },
    # One for all, scheduled: it counts what the others found.
    "summarize": {"tasks": ["example.catalog.tasks.summarize"]},
}

# The default is one job a second for each worker: kind to a small server. We are in a hurry.
DBQ = {"RATE_LIMIT": 0}

# ----------------------------------------------------------------------- the example

# What is indexed: any folder of Python files will do.
LIBRARY = Path(os.environ.get("EXAMPLE_LIBRARY") or sysconfig.get_path("stdlib"))

# ------------------------------------------------------------------- Django's own part

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("EXAMPLE_DATABASE") or HERE / "db.sqlite3",
        "OPTIONS": {"timeout": 20},
    }
}
if django.VERSION >= (5, 1):
    # A transaction that reads first and writes later fails at once when somebody else has written
    # in between, however long the timeout. Older Djangos cannot say this; tasks write first there.
    DATABASES["default"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
    # A power cut may cost the last moments of an index that can be made again any time.
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA synchronous = NORMAL"

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "example.urls"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"

# `python -m example` turns it off for its worker: with it on, Django keeps a list of all queries.
DEBUG = os.environ.get("EXAMPLE_DEBUG", "1") == "1"
SECRET_KEY = "a key of an example on your own machine, protecting nothing"  # noqa: S105
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

# Everything goes to a file, with tracebacks. On the screen they would bury the rest: one line each.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "full": {"format": "{asctime} {levelname} {process} {message}", "style": "{"},
        "line": {"()": "example.logs.OneLine", "format": "{levelname}: {message}", "style": "{"},
    },
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": os.environ.get("EXAMPLE_LOG") or HERE / "worker.log",
            "formatter": "full",
            "delay": True,
        },
        "screen": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "level": os.environ.get("EXAMPLE_LOG_LEVEL", "INFO"),
        },
    },
    "loggers": {"django_dbq": {"handlers": ["file", "screen"], "level": "INFO"}},
}
