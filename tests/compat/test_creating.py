"""C15 to C19: putting jobs into the queue."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import JSONField, Value
from django.utils import timezone

from django_dbq import tasks
from django_dbq.models import Job
from tests.compat.functions import Broken, also_nothing, nothing
from tests.compat.waiting import in_another_connection

pytestmark = pytest.mark.django_db


def state_of(job):
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


# ── C15: a row in the caller's transaction ───────────────────────────────────────────────────────


def test_c15_create_enqueues(declare, work):
    declare("import", nothing)

    job = Job.objects.create(name="import")

    assert state_of(job) == "NEW"
    work()
    assert state_of(job) == "COMPLETE"


def test_c15_save_enqueues(declare, work):
    declare("import", nothing)

    job = Job(name="import")
    assert Job.objects.count() == 0
    job.save()

    assert state_of(job) == "NEW"
    work()
    assert state_of(job) == "COMPLETE"


def test_c15_a_job_is_rolled_back_with_the_callers_transaction(transactional_db, declare, work):
    declare("import", nothing)

    with transaction.atomic():
        Job.objects.create(name="import")
        Job.objects.bulk_create([Job(name="import")])
        transaction.set_rollback(True)

    assert Job.objects.count() == 0


def test_c15_a_job_is_rolled_back_to_a_savepoint(transactional_db, declare):
    declare("import", nothing)

    with transaction.atomic():
        kept = Job.objects.create(name="import")
        with transaction.atomic():
            Job.objects.create(name="import")
            transaction.set_rollback(True)

    assert Job.objects.get() == kept


def test_c15_a_job_is_invisible_until_its_transaction_commits(transactional_db, declare):
    declare("import", nothing)

    with transaction.atomic():
        job = Job.objects.create(name="import")
        seen_before = in_another_connection(Job.objects.count)

    assert seen_before == 0
    assert in_another_connection(Job.objects.get) == job


# ── C16: what can be set ─────────────────────────────────────────────────────────────────────────


def test_c16_a_job_has_33s_defaults(declare):
    declare("import", nothing)

    job = Job.objects.get(pk=Job.objects.create(name="import").pk)

    assert (job.queue_name, job.priority, job.run_after) == ("default", 0, None)
    assert isinstance(job.pk, uuid.UUID)
    assert timezone.now() - job.created < timedelta(minutes=1)
    assert timezone.now() - job.modified < timedelta(minutes=1)


@pytest.mark.parametrize("way", ["create", "save", "bulk_create"])
def test_c16_everything_can_be_set_at_creation(declare, way):
    declare("import", nothing)
    given = {
        "name": "import",
        "workspace": {"file": "a.csv", "rows": [1, 2]},
        "queue_name": "imports",
        "priority": -5,
        "run_after": timezone.now() + timedelta(days=2),
    }

    if way == "create":
        Job.objects.create(**given)
    elif way == "save":
        Job(**given).save()
    else:
        Job.objects.bulk_create([Job(**given)])

    job = Job.objects.get()
    assert {field: getattr(job, field) for field in given} == given


@pytest.mark.parametrize("priority", [-32768, -1, 0, 1, 32767])
def test_c16_priorities_span_a_smallint(declare, priority):
    declare("import", nothing)

    job = Job.objects.create(name="import", priority=priority)

    job.refresh_from_db()
    assert job.priority == priority


def test_c16_a_queue_name_may_be_20_characters_long_and_a_job_name_100(declare):
    declare("n" * 100, nothing)

    job = Job.objects.create(name="n" * 100, queue_name="q" * 20)

    job.refresh_from_db()
    assert (job.name, job.queue_name) == ("n" * 100, "q" * 20)


# ── C17: what the first save fills in ────────────────────────────────────────────────────────────


def test_c17_next_task_becomes_the_first_task_of_the_list(declare):
    entry = declare("import", also_nothing, nothing)

    job = Job.objects.create(name="import")

    assert job.next_task == entry["tasks"][0]
    job.refresh_from_db()
    assert job.next_task == entry["tasks"][0]


def test_c17_a_job_that_gets_no_workspace_has_an_empty_one(declare):
    declare("import", nothing)

    jobs = [Job.objects.create(name="import"), Job.objects.create(name="import", workspace=None)]

    for job in jobs:
        assert job.workspace == {}
        job.refresh_from_db()
        assert job.workspace == {}


def test_c17_empty_workspaces_are_not_shared(declare):
    declare("import", nothing)
    one, other = Job.objects.create(name="import"), Job.objects.create(name="import")

    one.workspace["file"] = "a.csv"

    assert other.workspace == {}


def test_c17_a_later_save_does_not_put_the_job_back_to_its_first_task(declare, work):
    entry = declare("import", nothing, also_nothing)
    job = Job.objects.create(name="import")
    work()

    job = Job.objects.get(pk=job.pk)
    job.save()

    assert Job.objects.get(pk=job.pk).next_task == entry["tasks"][1]


def test_c17_a_name_that_jobs_lacks_raises_a_helpful_key_error_and_writes_nothing(declare):
    declare("import", nothing)
    declare("export", nothing)

    with pytest.raises(KeyError) as raised:
        Job.objects.create(name="inport")

    message = str(raised.value)
    assert "inport" in message
    assert "JOBS" in message
    assert "import" in message
    assert "export" in message
    assert Job.objects.count() == 0


def test_c17_a_job_without_a_name_raises_a_key_error_too(declare):
    declare("import", nothing)

    with pytest.raises(KeyError):
        Job().save()

    assert Job.objects.count() == 0


def workspace_seen_by_the_task(declare, work, make):
    """What a task and the hooks around it find in a job that `make` puts into the table."""
    seen = []

    def look(job):
        seen.append(job.workspace)

    entry = declare("import", look, pre_task_hook=look, post_task_hook=look)
    make(entry)
    work()
    return seen


def test_c17_a_task_never_sees_none_when_bulk_create_gave_no_workspace(declare, work):
    def make(entry):
        Job.objects.bulk_create([Job(name="import", next_task=entry["tasks"][0])])

    assert workspace_seen_by_the_task(declare, work, make) == [{}, {}, {}]


def test_c17_a_task_never_sees_none_when_the_column_is_null(declare, work):
    def make(entry):
        Job.objects.create(name="import")
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_dbq_job SET workspace = NULL")

    assert workspace_seen_by_the_task(declare, work, make) == [{}, {}, {}]


def test_c17_a_task_never_sees_none_when_the_column_holds_jsons_null(declare, work):
    def make(entry):
        Job.objects.create(name="import")
        Job.objects.update(workspace=Value(None, JSONField()))

    assert workspace_seen_by_the_task(declare, work, make) == [{}, {}, {}]


def test_c17_a_task_never_sees_none_when_the_task_before_it_left_none(declare, work):
    seen = []

    def forget(job):
        job.workspace = None

    def look(job):
        seen.append(job.workspace)

    declare("import", forget, look)
    Job.objects.create(name="import", workspace={"file": "a.csv"})

    work(2)

    assert seen == [{}]


# ── C18: bulk_create ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hooked(declare):
    """A job whose creation hook counts its calls and writes into the workspace."""
    calls = []

    def hook(job):
        calls.append(job.pk)
        job.workspace["by_hook"] = True

    entry = declare("import", nothing, also_nothing, creation_hook=hook)
    return {**entry, "calls": calls}


def test_c18_33s_recipe_keeps_working(declare, work):
    entry = declare("import", nothing)
    first_task = tasks.get_next_task_name("import")
    assert first_task == entry["tasks"][0]

    Job.objects.bulk_create(
        Job(name="import", next_task=first_task, workspace={"row": row}) for row in range(5)
    )

    assert set(Job.objects.values_list("state", "next_task")) == {("NEW", first_task)}
    work(5)
    assert set(Job.objects.values_list("state", flat=True)) == {"COMPLETE"}
    assert sorted(job.workspace["row"] for job in Job.objects.all()) == [0, 1, 2, 3, 4]


def test_c18_33s_recipe_runs_no_creation_hook(hooked):
    first_task = tasks.get_next_task_name("import")

    Job.objects.bulk_create([Job(name="import", next_task=first_task, workspace={"row": 1})])

    assert hooked["calls"] == []
    assert Job.objects.get().workspace == {"row": 1}


def test_c18_a_next_task_that_was_filled_by_hand_is_taken_as_it_is(hooked, work):
    Job.objects.bulk_create([Job(name="import", next_task=hooked["tasks"][1])])

    work(1)

    job = Job.objects.get()
    assert (job.state, job.next_task) == ("COMPLETE", "")


def test_c18_plain_bulk_create_just_works(declare, work):
    entry = declare("import", nothing, also_nothing)

    Job.objects.bulk_create([Job(name="import"), Job(name="import", workspace={"row": 1})])

    assert set(Job.objects.values_list("state", "next_task")) == {("NEW", entry["tasks"][0])}
    assert sorted(map(str, Job.objects.values_list("workspace", flat=True))) == [
        "{'row': 1}",
        "{}",
    ]
    work(4)
    assert set(Job.objects.values_list("state", flat=True)) == {"COMPLETE"}


def test_c18_plain_bulk_create_runs_the_creation_hook_once_for_each_job(hooked):
    jobs = Job.objects.bulk_create([Job(name="import"), Job(name="import", workspace={"row": 1})])

    assert sorted(hooked["calls"]) == sorted(job.pk for job in jobs)
    assert Job.objects.get(pk=jobs[0].pk).workspace == {"by_hook": True}
    assert Job.objects.get(pk=jobs[1].pk).workspace == {"by_hook": True, "row": 1}


def test_c18_the_creation_hook_runs_before_any_row_is_written(declare):
    seen = []

    def hook(job):
        seen.append(Job.objects.count())
        job.priority = 4

    declare("import", nothing, creation_hook=hook)

    Job.objects.bulk_create([Job(name="import"), Job(name="import")])

    assert seen == [0, 0]
    assert list(Job.objects.values_list("priority", flat=True)) == [4, 4]


def test_c18_a_job_made_by_bulk_create_runs_no_creation_hook_when_it_is_saved_again(hooked):
    (job,) = Job.objects.bulk_create([Job(name="import")])

    job.save()
    Job.objects.get(pk=job.pk).save()

    assert len(hooked["calls"]) == 1


def test_c18_both_ways_may_be_mixed_in_one_call(hooked):
    by_hand = Job(name="import", next_task=hooked["tasks"][0])
    plain = Job(name="import")

    Job.objects.bulk_create([by_hand, plain])

    assert hooked["calls"] == [plain.pk]


def test_c18_bulk_create_takes_a_generator_and_a_batch_size(hooked):
    jobs = Job.objects.bulk_create((Job(name="import") for _ in range(7)), batch_size=3)

    assert len(jobs) == len(hooked["calls"]) == Job.objects.count() == 7


def test_c18_bulk_create_works_on_a_queryset_too(hooked):
    Job.objects.all().bulk_create([Job(name="import")])

    assert Job.objects.get().next_task == hooked["tasks"][0]
    assert len(hooked["calls"]) == 1


def test_c18_bulk_create_of_an_unknown_name_raises_a_key_error_and_writes_nothing(declare):
    declare("import", nothing)

    with pytest.raises(KeyError, match="inport"):
        Job.objects.bulk_create([Job(name="import"), Job(name="inport")])

    assert Job.objects.count() == 0


def test_c18_a_creation_hook_that_raises_in_bulk_create_raises_and_writes_nothing(declare):
    def hook(job):
        if job.workspace.get("bad"):
            raise Broken("not allowed")

    declare("import", nothing, creation_hook=hook)

    with pytest.raises(Broken):
        Job.objects.bulk_create([Job(name="import"), Job(name="import", workspace={"bad": 1})])

    assert Job.objects.count() == 0


# ── C19: the look-ups ────────────────────────────────────────────────────────────────────────────


def test_c19_the_first_task_the_one_after_and_none_after_the_last(declare):
    first, second, third = declare("import", nothing, also_nothing, "os.getpid")["tasks"]

    assert tasks.get_next_task_name("import") == first
    assert tasks.get_next_task_name("import", first) == second
    assert tasks.get_next_task_name("import", current_task=second) == third
    assert tasks.get_next_task_name("import", third) is None


def test_c19_the_look_ups_know_jobs_declared_as_a_bare_list(declare, settings):
    first, second = declare("import", nothing, also_nothing)["tasks"]
    settings.JOBS = {"import": [first, second]}

    assert tasks.get_next_task_name("import") == first
    assert tasks.get_next_task_name("import", first) == second
    assert tasks.get_next_task_name("import", second) is None
    assert tasks.get_pre_task_hook_name("import") is None
    assert tasks.get_post_task_hook_name("import") is None
    assert tasks.get_failure_hook_name("import") is None
    assert tasks.get_creation_hook_name("import") is None


def test_c19_each_hook_has_its_look_up(declare):
    declare(
        "import",
        nothing,
        pre_task_hook="shop.jobs.before",
        post_task_hook="shop.jobs.after",
        failure_hook="shop.jobs.failed",
        creation_hook="shop.jobs.created",
    )

    assert tasks.get_pre_task_hook_name("import") == "shop.jobs.before"
    assert tasks.get_post_task_hook_name("import") == "shop.jobs.after"
    assert tasks.get_failure_hook_name("import") == "shop.jobs.failed"
    assert tasks.get_creation_hook_name("import") == "shop.jobs.created"


def test_c19_a_hook_that_is_not_declared_is_none(declare):
    declare("import", nothing)

    assert tasks.get_pre_task_hook_name("import") is None
    assert tasks.get_post_task_hook_name("import") is None
    assert tasks.get_failure_hook_name("import") is None
    assert tasks.get_creation_hook_name("import") is None


@pytest.mark.parametrize(
    "look_up",
    [
        tasks.get_next_task_name,
        tasks.get_pre_task_hook_name,
        tasks.get_post_task_hook_name,
        tasks.get_failure_hook_name,
        tasks.get_creation_hook_name,
    ],
)
def test_c19_an_unknown_job_is_a_key_error(declare, look_up):
    declare("import", nothing)

    with pytest.raises(KeyError):
        look_up("inport")


def test_c19_a_task_that_is_not_in_the_list_is_a_value_error(declare):
    declare("import", nothing)

    with pytest.raises(ValueError, match=r"shop\.jobs\.gone"):
        tasks.get_next_task_name("import", "shop.jobs.gone")
