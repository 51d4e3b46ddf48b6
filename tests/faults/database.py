"""The database under test, or the same one on another server."""

from __future__ import annotations

from django.core.management import call_command
from django.db import connection


def make_database():
    """Make the database that settings name, if need be, with empty tables."""
    if connection.vendor != "sqlite":
        name = connection.settings_dict["NAME"]
        with connection._nodb_cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
                if not cursor.fetchone():
                    cursor.execute(f"CREATE DATABASE {name}")
            else:
                cursor.execute(f"CREATE DATABASE IF NOT EXISTS {name}")
    call_command("migrate", verbosity=0, database="default")
    call_command("flush", verbosity=0, database="default", interactive=False)


def address():
    """Where the server listens, as the arguments of a Proxy."""
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        info = connection.connection.info
        if info.host.startswith("/"):
            return {"unix_socket": f"{info.host}/.s.PGSQL.{info.port}"}
        return {"host": info.host, "port": info.port}
    settings = connection.settings_dict
    if "unix_socket" in settings["OPTIONS"]:
        return {"unix_socket": settings["OPTIONS"]["unix_socket"]}
    return {"host": settings["HOST"], "port": int(settings["PORT"] or 3306)}
