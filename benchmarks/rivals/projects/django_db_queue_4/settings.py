import os

from django_settings import *  # noqa: F403

INSTALLED_APPS = ["django_dbq"]
JOBS = {"noop": {"tasks": ["tasks.noop"]}, "single": {"tasks": ["tasks.single"]}}

if "ON_SQLITE" in os.environ:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["SQLITE_FILE"],
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    }
