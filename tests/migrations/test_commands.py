"""Commands on a database that is not migrated, or that nobody knows, say what to do."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

COMMANDS = ["queue_depth", "delete_old_jobs", "orphaned_jobs", "worker"]


@pytest.mark.parametrize("command", COMMANDS)
def test_on_tables_of_an_older_version_a_command_says_to_migrate(migrate, command):
    migrate("0006")

    with pytest.raises(CommandError, match=r"manage\.py migrate django_dbq"):
        call_command(command, verbosity=0)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_alias_that_is_not_in_databases_is_named(command):
    with pytest.raises(CommandError, match="'elsewhere'"):
        call_command(command, database="elsewhere", verbosity=0)
