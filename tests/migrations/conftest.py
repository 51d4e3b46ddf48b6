"""What the tests of our migrations share."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


@pytest.fixture
def migrate(transactional_db):
    """Migrate the app to the migration of that number; it is at the latest again afterwards.

    Without the command around it, which would spend most of the time on permissions.
    """

    def migrate(number=None):
        executor = MigrationExecutor(connection)
        names = sorted(name for app, name in executor.loader.disk_migrations if app == "django_dbq")
        (target,) = [name for name in names if name.startswith(number or names[-1])]
        executor.migrate([("django_dbq", target)])

    yield migrate
    migrate()
