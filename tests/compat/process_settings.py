"""The settings of a worker process that a test starts: the project's, on the test's database."""

from __future__ import annotations

import json
import os

from tests.project.settings import *  # noqa: F403

DATABASES["default"]["NAME"] = os.environ["DBQ_TEST_DATABASE_NAME"]  # noqa: F405
JOBS = json.loads(os.environ["COMPAT_JOBS"])
DBQ = json.loads(os.environ["COMPAT_DBQ"])
