"""Scenarios 16, 18: a transaction that lasts, and old rows that go while new ones come.

Only that nothing is lost; how fast it is: `make bench`.
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.utils import timezone

from django_dbq.models import Job
from django_dbq.rules.states import State
from tests.compat.waiting import in_another_connection

pytestmark = [pytest.mark.processes, pytest.mark.slow_faults]


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="its readers hold nothing up")
def test_16_a_snapshot_is_kept_open_all_the_while(team, enqueue, all_is_well):
    with closing(connections.create_connection("default")) as reader:
        with reader.cursor() as cursor:
            cursor.execute(SNAPSHOT[connection.vendor])
            cursor.execute("SELECT count(*) FROM django_dbq_job")
        enqueue("steps", 1_500, workspace={"seconds": 0})
        team.start("--threads", 2)
        found = all_is_well(seconds=120)
        with reader.cursor() as cursor:
            cursor.execute("ROLLBACK")
    assert len(found.runs) == 4_500


SNAPSHOT = {
    "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ",
    "mysql": "START TRANSACTION WITH CONSISTENT SNAPSHOT",
}


def test_18_old_jobs_are_deleted_under_load(team, enqueue, all_is_well):
    long_ago = timezone.now() - timedelta(days=7)
    Job.objects.bulk_create(
        (Job(name="note", state=State.COMPLETE, workspace={}) for _ in range(20_000)),
        batch_size=2_000,
    )
    Job.objects.update(created=long_ago)
    jobs = enqueue("steps", 500, workspace={"seconds": 0.001})
    team.start("--threads", 2)
    in_another_connection(lambda: call_command("delete_old_jobs"))

    found = all_is_well()
    assert len(found.runs) == 1_500
    assert Job.objects.count() == len(jobs)
