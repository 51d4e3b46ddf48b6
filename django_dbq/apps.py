from __future__ import annotations

from django.apps import AppConfig


class DjangoDBQConfig(AppConfig):
    name = "django_dbq"
    verbose_name = "Job queue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_dbq import checks

        checks.register_checks()
