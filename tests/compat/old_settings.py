"""The settings of a process that runs the published 3.3: its one app on the test's database.

Such a process has 3.3 under the name django_dbq, so nothing here may import a thing of ours that
the published package lacks.
"""

from __future__ import annotations

import json
import os

from tests import databases

SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["django_dbq"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": databases.django_databases(databases.chosen())["default"]}
DATABASES["default"]["NAME"] = os.environ["DBQ_TEST_DATABASE_NAME"]
JOBS = json.loads(os.environ["COMPAT_JOBS"])
