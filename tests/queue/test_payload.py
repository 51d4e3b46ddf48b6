"""What is enqueued has a size that every database and every worker can handle."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_dbq import queue
from django_dbq import settings as dbq_settings
from django_dbq.engines import Engine
from django_dbq.exceptions import InvalidJob, PayloadTooLarge
from django_dbq.management.commands.worker import Worker
from django_dbq.models import Job
from django_dbq.rules.states import State

pytestmark = pytest.mark.django_db

LIMIT = 1_000


def of_size(size):
    """A workspace of that many bytes of JSON."""
    workspace = {"x": "." * (size - len('{"x": ""}'))}
    assert len(json.dumps(workspace)) == size
    return workspace


@pytest.fixture(autouse=True)
def small(settings):
    settings.DBQ = {"MAX_PAYLOAD_BYTES": LIMIT}


def saved(workspace, name="noop"):
    Job(name=name, workspace=workspace).save()


def created(workspace, name="noop"):
    Job.objects.create(name=name, workspace=workspace)


def bulk_created(workspace, name="noop"):
    Job.objects.bulk_create([Job(name=name), Job(name=name, workspace=workspace)])


def bulk_created_by_hand(workspace, name="noop"):
    job = Job(name=name, next_task="tests.project.tasks.noop", workspace=workspace)
    Job.objects.bulk_create([job])


def enqueued(workspace, name="noop"):
    queue.enqueue(name, workspace)


def enqueued_in_bulk(workspace, name="noop"):
    queue.enqueue_many(name, [{}, {}, workspace])


def inserted_by_the_portable_engine(workspace, name="noop"):
    Engine("default").insert_alike(Job(name=name), [workspace])


WAYS = [
    saved,
    created,
    bulk_created,
    bulk_created_by_hand,
    enqueued,
    enqueued_in_bulk,
    inserted_by_the_portable_engine,
]
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@every_way
@pytest.mark.parametrize("name", ["noop", "with_hooks"])
def test_a_workspace_that_is_too_large_is_refused_and_nothing_is_written(way, name):
    with pytest.raises(PayloadTooLarge) as raised:
        way(of_size(LIMIT + 1), name)

    assert (raised.value.job_name, raised.value.limit) == (name, LIMIT)
    assert raised.value.size > LIMIT
    assert isinstance(raised.value, InvalidJob)
    assert not Job.objects.exists()


@every_way
def test_a_workspace_of_just_that_size_is_enqueued(way):
    way(of_size(LIMIT))

    assert Job.objects.exists()


@every_way
def test_without_a_limit_a_workspace_of_any_size_is_enqueued(way, settings):
    settings.DBQ = {"MAX_PAYLOAD_BYTES": None}
    way(of_size(2_000_000))

    assert Job.objects.exists()


@every_way
def test_the_limit_of_a_workspace_is_a_mebibyte_if_none_is_given(way, settings):
    settings.DBQ = {}
    way(of_size(1_048_576))
    with pytest.raises(PayloadTooLarge, match=r"1048577 bytes.*1048576"):
        way(of_size(1_048_577))


def test_the_size_of_a_workspace_is_bytes_of_json_and_not_characters():
    with pytest.raises(PayloadTooLarge) as raised:
        queue.enqueue("noop", {"x": "☃" * 200})

    assert raised.value.size == len('{"x": ""}') + 200 * len("\\u2603")


def test_a_workspace_that_a_creation_hook_makes_too_large_is_refused():
    with pytest.raises(PayloadTooLarge):
        queue.enqueue("with_hooks", of_size(LIMIT - 5))

    assert not Job.objects.exists()


def test_a_workspace_that_grows_while_its_job_runs_is_kept(settings):
    settings.JOBS = {"job": [f"{__name__}.grow", f"{__name__}.save_and_grow"]}
    job = queue.enqueue("job")
    for _ in range(2):
        Worker("default", 0)._process_job()

    job.refresh_from_db()
    assert job.state == State.COMPLETE
    assert len(job.workspace["x"]) == 3 * LIMIT


def grow(job):
    job.workspace["x"] = "." * 2 * LIMIT


def save_and_grow(job):
    job.save()
    job.workspace["x"] += "." * LIMIT


def test_a_row_that_is_saved_again_is_not_measured():
    job = queue.enqueue("noop")
    job.workspace = of_size(5 * LIMIT)
    job.save()

    assert Job.objects.get().workspace == job.workspace


def test_the_settings_are_asked_once_for_many(monkeypatch):
    asked = []
    ask = dbq_settings.max_payload_bytes
    monkeypatch.setattr(dbq_settings, "max_payload_bytes", lambda: asked.append(1) or ask())
    queue.enqueue_many("noop", ({} for _ in range(100)))

    assert asked == [1]


@pytest.mark.parametrize("wrong", [0, -1, True, "1 MB", 1.5], ids=repr)
def test_a_limit_that_makes_no_sense_is_told_where_it_is_needed(settings, wrong):
    settings.DBQ = {"MAX_PAYLOAD_BYTES": wrong}
    with pytest.raises(ImproperlyConfigured, match="MAX_PAYLOAD_BYTES"):
        queue.enqueue("noop")
