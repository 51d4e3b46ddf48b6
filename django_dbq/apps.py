from __future__ import annotations

from django.apps import AppConfig


class DjangoDBQConfig(AppConfig):
    name = "django_dbq"
    verbose_name = "Job queue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_dbq import checks
        from django_dbq.engines import ringing
        from django_dbq.models.arrivals import arrived
        from django_dbq.rules import discovery

        checks.register_checks()
        arrived.connect(ringing.ring)
        discovery.import_jobs()
