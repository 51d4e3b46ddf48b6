"""The database's clock, as the engines tell it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.db import connections

from django_dbq.engines import engine_for
from tests.compat.waiting import in_another_connection


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("use_tz", [True, False])
def test_the_database_tells_an_aware_time_whatever_use_tz_and_the_time_zone_are(settings, use_tz):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Asia/Kathmandu"

    def ask():
        try:
            return engine_for("default").now()
        finally:
            connections.close_all()

    off = abs(in_another_connection(ask) - datetime.now(timezone.utc))

    assert off < timedelta(seconds=5)
