"""The workspace's column: JSON that is parsed when somebody looks at it; and its text."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute

from django_dbq.exceptions import PayloadTooLarge, WorkspaceNotJSON
from django_dbq.rules.nesting import DEEPEST_NESTING, is_readable
from django_dbq.rules.texts import why_refused_in_json

# One encoder for all: json.dumps() makes a new one whenever it is given an option.
as_json = json.JSONEncoder(allow_nan=False).encode


def as_storable_json(value: Any) -> str:
    """The text of what JSON can express, databases can store and any process can read again.

    Raises TypeError, ValueError or RecursionError for anything else.
    """
    text = as_json(value)
    refusal = why_refused_in_json(text)
    if refusal:
        raise ValueError(refusal)
    if not is_readable(text):
        raise ValueError(f"it is nested deeper than {DEEPEST_NESTING}")
    return text


def workspace_as_json(
    workspace: dict[str, Any] | None, job_name: str, largest: int | None = None
) -> str:
    """The text of a job's workspace; raises WorkspaceNotJSON when JSON cannot express it.

    And PayloadTooLarge when it has more than `largest` bytes. It is ASCII, so that its length says.
    """
    try:
        text = as_storable_json({} if workspace is None else workspace)
    except (TypeError, ValueError, RecursionError) as error:
        raise WorkspaceNotJSON(job_name, str(error)) from error
    if largest is not None and len(text) > largest:
        raise PayloadTooLarge(job_name, len(text), largest)
    return text


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
        value = parsed(instance.workspace_in_row)
        # Of two threads that look first, both get the same one: each may change it.
        return instance.__dict__.setdefault(self.field.attname, value)


class WorkspaceField(models.JSONField):
    """A JSONField in all that the database and migrations see."""

    descriptor_class = Workspace

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs
