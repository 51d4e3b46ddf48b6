"""The workspace's column: JSON that is parsed when somebody looks at it."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute


def parsed(text: str) -> Any:
    """The workspace that a row has as text: never None, however the row was made."""
    value = json.loads(text)
    return {} if value is None else value


class Workspace(DeferredAttribute):
    """Parses the text that a claim has brought along, the first time that it is asked for.

    Python comes here only as long as the instance has no value of its own. Django calls such a
    field deferred, and leaves it alone when it saves: a workspace that nobody has looked at has not
    changed.
    """

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        if instance is None or instance.workspace_in_row is None:
            return super().__get__(instance, cls)
        value = instance.__dict__[self.field.attname] = parsed(instance.workspace_in_row)
        return value


class WorkspaceField(models.JSONField):
    """A JSONField in all that the database and migrations see."""

    descriptor_class = Workspace

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs
