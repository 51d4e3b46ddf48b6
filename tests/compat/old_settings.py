"""The settings of a process that runs the published 3.3: its one app on the test's database."""

from __future__ import annotations

import json
import os

from tests.project import settings as project

SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["django_dbq"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": dict(project.DATABASES["default"])}
DATABASES["default"]["NAME"] = os.environ["DBQ_TEST_DATABASE_NAME"]
JOBS = json.loads(os.environ["COMPAT_JOBS"])
