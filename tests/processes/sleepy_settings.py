"""Settings of worker processes that, idle, look so seldom that a bell must wake them."""

from __future__ import annotations

from django.apps import AppConfig

from tests.processes.settings import *  # noqa: F403

SECONDS = 600.0


class Sleepy(AppConfig):
    name = "tests.processes"

    def ready(self):
        from django_dbq.engines import notifications, sqlite
        from django_dbq.worker import loop

        notifications.FALLBACK_SECONDS = SECONDS
        sqlite.FileDoorbell.fallback_seconds = SECONDS
        loop.LONGEST_REST_SECONDS = SECONDS


INSTALLED_APPS = [*INSTALLED_APPS, "tests.processes.sleepy_settings.Sleepy"]  # noqa: F405
