"""What the commands ask of a database before they use it."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.utils.connection import ConnectionDoesNotExist

from django_dbq.engines import Engine, engine_for
from django_dbq.exceptions import DatabaseNotReady


def ready_engine(alias: str) -> Engine:
    """The engine of this database, which answers and has the tables of this version.

    Raises CommandError, which says what to do, if it has not, or if nobody knows the alias.
    """
    try:
        engine = engine_for(alias)
        engine.require_ready()
    except (DatabaseNotReady, ConnectionDoesNotExist) as error:
        raise CommandError(str(error)) from error
    return engine
