"""The job table as any model of a project's would have it: what an INSERT costs without us."""

from __future__ import annotations

from django.db import models

from django_dbq.models import Job


def _plain_model() -> type[models.Model]:
    """A model with every column of Job's, defaults included, and nothing of what Job does."""

    class Meta:
        app_label = "benchmarks"
        db_table = Job._meta.db_table
        managed = False

    columns = {field.name: field.clone() for field in Job._meta.concrete_fields}
    return type("BareJob", (models.Model,), {"__module__": __name__, "Meta": Meta, **columns})


BareJob = _plain_model()
