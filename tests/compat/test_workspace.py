"""C23, C24: the workspace."""

from __future__ import annotations

import pytest

from django_dbq.models import Job
from tests.compat.functions import nothing

pytestmark = pytest.mark.django_db

EVERYTHING = {
    "text": "Grüße, 世界 \U0001f389 'quoted' \"twice\" back\\slash %s",
    "empty": "",
    "whole": 9007199254740991,
    "negative": -3,
    "fraction": 0.1,
    "yes": True,
    "no": False,
    "nothing": None,
    "list": [1, "two", [3, {"four": 5}], {}, []],
    "dict": {"a": {"b": {"c": {}}}},
    "": "a key may be empty",
    "a.b__c d": "or strange",
}


def test_c23_the_workspace_holds_whatever_json_holds(declare):
    declare("import", nothing)

    job = Job.objects.create(name="import", workspace=EVERYTHING)

    assert Job.objects.get(pk=job.pk).workspace == EVERYTHING


def test_c23_a_task_finds_in_it_what_the_job_was_created_with(declare, work):
    seen = []

    def task(job):
        seen.append(job.workspace)

    declare("import", task)
    Job.objects.create(name="import", workspace=EVERYTHING)

    work()

    assert seen == [EVERYTHING]


def test_c23_what_one_task_writes_the_next_one_reads(declare, work):
    def read(job):
        job.workspace["lines"] = ["a", "bb", "ccc"]

    def measure(job):
        job.workspace["lengths"] = [len(line) for line in job.workspace["lines"]]

    def add(job):
        job.workspace["sum"] = sum(job.workspace.pop("lengths"))

    declare("import", read, measure, add)
    job = Job.objects.create(name="import", workspace={"file": "a.csv"})

    work(3)

    job.refresh_from_db()
    assert job.workspace == {"file": "a.csv", "lines": ["a", "bb", "ccc"], "sum": 6}


def test_c23_jobs_do_not_see_each_others_workspace(declare, work):
    def task(job):
        job.workspace["seen"] = sorted(job.workspace)

    declare("import", task)
    one = Job.objects.create(name="import", workspace={"a": 1})
    other = Job.objects.create(name="import", workspace={"b": 2})

    work(2)

    one.refresh_from_db()
    other.refresh_from_db()
    assert one.workspace == {"a": 1, "seen": ["a"]}
    assert other.workspace == {"b": 2, "seen": ["b"]}


def test_c23_a_large_workspace_comes_back_whole(declare, work):
    def task(job):
        job.workspace["rows"].append("last")

    declare("import", task)
    rows = [f"row {number} of many" for number in range(20_000)]
    job = Job.objects.create(name="import", workspace={"rows": rows})

    work()

    job.refresh_from_db()
    assert job.workspace == {"rows": [*rows, "last"]}


@pytest.fixture
def annas(declare):
    """Anna's job, among others."""
    declare("import", nothing)
    Job.objects.create(name="import", workspace={"user_id": 2, "tags": ["red"]})
    Job.objects.create(name="import")
    return Job.objects.create(
        name="import", workspace={"user_id": 1, "file": {"name": "a.csv", "parts": [10, 20]}}
    )


def test_c24_the_workspace_is_queried_by_key(annas):
    assert Job.objects.get(workspace__user_id=1) == annas
    assert Job.objects.filter(workspace__user_id=3).count() == 0


def test_c24_the_workspace_is_queried_by_path(annas):
    assert Job.objects.get(workspace__file__name="a.csv") == annas
    assert Job.objects.get(workspace__file__parts__1=20) == annas


def test_c24_the_workspace_is_queried_by_what_keys_it_has(annas):
    assert Job.objects.get(workspace__has_key="file") == annas
    assert Job.objects.filter(workspace__has_any_keys=["tags", "file"]).count() == 2
    assert Job.objects.get(workspace__user_id__lt=2) == annas


def test_c24_what_a_task_wrote_can_be_queried(declare, work):
    def task(job):
        job.workspace["result"] = {"rows": len(job.workspace)}

    declare("import", task)
    empty = Job.objects.create(name="import")
    Job.objects.create(name="import", workspace={"user_id": 1, "file": "a.csv"})

    work(2)

    assert Job.objects.get(workspace__result__rows=0) == empty
    assert Job.objects.get(workspace__result__rows=2).workspace["file"] == "a.csv"
