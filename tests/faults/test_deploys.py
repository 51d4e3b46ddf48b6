"""Scenarios 25, 26: two versions of the code, and of the schema, at work at the same time."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connections

from tests.compat.waiting import in_another_connection, wait_until
from tests.faults import history
from tests.faults.conftest import states_of

pytestmark = pytest.mark.processes


def test_25_jobs_that_the_old_version_does_not_know_are_left_to_the_new_one(
    team, enqueue, runs, all_is_well
):
    known = enqueue("note", 20)
    unknown = enqueue("new_in_this_version", 20, priority=1)
    old = team.start(DBQ_FAULTS_UNDECLARED="new_in_this_version")
    wait_until(
        lambda: set(states_of(*known)) == {"COMPLETE"}, "the known ones ran", story=team.story
    )
    wait_until(
        lambda: set(states_of(*unknown)) <= {"NEW", "READY"},
        "the others were left",
        story=team.story,
    )
    claims_before = claims_of(unknown)
    more = enqueue("note", 20)
    wait_until(
        lambda: set(states_of(*more)) == {"COMPLETE"}, "more known ones ran", story=team.story
    )
    # Once seen, they are hidden from it: it does not take them again and again.
    assert claims_of(unknown) - claims_before <= len(unknown)
    new = team.start()

    found = all_is_well()
    assert old.runs
    assert new.runs
    assert not found.duplicates


def claims_of(jobs):
    return sum(
        change.job in jobs and change.new_state == "PROCESSING" for change in history.changes()
    )


@pytest.mark.slow_faults
@pytest.mark.parametrize("target", ["0008", "0009"])
def test_26_the_schema_is_migrated_back_and_forth_while_workers_run(
    team, enqueue, all_is_well, target
):
    """What the migrations do to each other's rows and locks: tests/migrations.

    SQLite makes the table anew to change it, and the trigger of these tests goes with the old one.
    """
    if connections["default"].vendor == "sqlite" and target != "0009":
        pytest.skip("its tables are made anew, and lose the trigger")
    enqueue("steps", 300)
    member = team.start("--threads", 2)
    for name in (target, None) * 3:
        in_another_connection(lambda: migrate(name))  # noqa: B023

    all_is_well()
    assert member.runs
    assert "Traceback" not in member.output


def migrate(name):
    call_command("migrate", "django_dbq", *filter(None, [name]), verbosity=0)
