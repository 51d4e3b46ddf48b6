"""What an application calls to put jobs in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone as django_timezone

from django_dbq import queue
from django_dbq.decorator import Enqueuer
from django_dbq.exceptions import InvalidJob, JobNotDeclared, WorkspaceNotJSON
from django_dbq.models import Job
from django_dbq.rules.states import State

pytestmark = pytest.mark.django_db

NOOP = "tests.project.tasks.noop"
LATER = django_timezone.now() + timedelta(hours=1)


def test_a_job_is_enqueued_with_what_it_was_given():
    fields = {"queue_name": "mail", "priority": 5, "run_after": LATER}
    job = queue.enqueue("three_steps", {"to": "you"}, **fields)
    job.refresh_from_db()

    assert (job.name, job.workspace, job.state) == ("three_steps", {"to": "you"}, State.NEW)
    assert (job.queue_name, job.priority, job.run_after) == ("mail", 5, LATER)
    assert job.next_task == "tests.project.tasks.append_first"


def test_the_defaults_are_those_of_the_model():
    job = queue.enqueue("noop")

    assert (job.queue_name, job.priority, job.run_after) == ("default", 0, None)
    assert job.workspace == {}


def test_many_jobs_are_enqueued_from_any_iterable():
    fields = {"queue_name": "mail", "priority": 5, "run_after": LATER}
    assert queue.enqueue_many("noop", ({"number": n} for n in range(30)), **fields) == 30

    assert Job.objects.filter(name="noop", state=State.NEW, **fields).count() == 30
    assert {job.workspace["number"] for job in Job.objects.all()} == set(range(30))


def test_creation_hooks_run_for_each_of_many():
    assert queue.enqueue_many("with_hooks", ({"number": n} for n in range(5))) == 5

    for job in Job.objects.all():
        assert job.workspace["log"] == ["creation hook"]


@pytest.mark.parametrize("name", ["noop", "with_hooks", "unique"])
def test_many_jobs_are_more_than_one_statement_can_hold(settings, name):
    """MariaDB takes 16 MB; what is inserted at once are a thousand rows."""
    settings.JOBS = {**settings.JOBS, "unique": {"tasks": [NOOP], "unique": True}}
    workspaces = ({"number": number, "text": "x" * 20_000} for number in range(1_000))

    assert queue.enqueue_many(name, workspaces) == 1_000
    assert Job.objects.count() == 1_000


@pytest.mark.parametrize("name", ["noop", "with_hooks"])
def test_of_many_jobs_none_is_enqueued_when_one_is_bad(name):
    workspaces = [{"number": n} for n in range(1_500)]
    workspaces[1_200] = {"bad": object()}
    with pytest.raises(WorkspaceNotJSON):
        queue.enqueue_many(name, workspaces)

    assert not Job.objects.exists()


@pytest.mark.parametrize("given", [{"active": True, "file": "x"}, "text", b"bytes"], ids=repr)
def test_one_workspace_in_place_of_many_is_refused(given):
    with pytest.raises(InvalidJob, match="one dict for each job"):
        queue.enqueue_many("noop", given)

    assert not Job.objects.exists()


def test_no_workspaces_are_no_jobs():
    assert queue.enqueue_many("noop", []) == 0


@pytest.mark.parametrize("enqueue", [queue.enqueue, lambda name: queue.enqueue_many(name, [{}])])
def test_a_name_that_is_not_declared_is_refused(enqueue):
    with pytest.raises(JobNotDeclared):
        enqueue("nobody knows it")


@pytest.mark.parametrize(
    "values",
    [
        {"queue_name": "q" * 61},
        {"priority": 32_768},
        {"priority": -32_769},
        {"run_after": LATER.replace(tzinfo=None)},
    ],
    ids=str,
)
@pytest.mark.parametrize("many", [False, True])
def test_what_does_not_fit_is_refused_before_the_insert(values, many):
    def enqueue():
        return (
            queue.enqueue_many("noop", [{}], **values) if many else queue.enqueue("noop", **values)
        )

    with pytest.raises(InvalidJob) as raised:
        enqueue()

    assert raised.value.field in values


@pytest.mark.parametrize("bad", [{"a": {1}}, {"a": float("nan")}, {"a": LATER}, {("a",): 1}])
def test_a_workspace_that_is_not_json_is_a_type_error_before_the_insert(bad):
    with pytest.raises(TypeError):
        queue.enqueue("noop", bad)

    assert not Job.objects.exists()


def test_jobs_belong_to_the_caller_s_transaction():
    with transaction.atomic():
        queue.enqueue("noop")
        queue.enqueue_many("noop", [{}, {}])
        transaction.set_rollback(True)

    assert not Job.objects.exists()


@pytest.mark.django_db(databases=["default", "other"])
def test_jobs_go_to_the_database_that_is_named():
    queue.enqueue("noop", using="other")
    queue.enqueue_many("noop", [{}, {}], using="other")

    assert not Job.objects.exists()
    assert Job.objects.using("other").count() == 3
    assert queue.depths(using="other") == {"default": 3}


def test_plain_bulk_create_just_works():
    jobs = Job.objects.bulk_create(
        [Job(name="three_steps"), Job(name="with_hooks", workspace={"a": 1})]
    )

    assert [job.next_task for job in jobs] == ["tests.project.tasks.append_first"] * 2
    assert jobs[1].workspace == {"a": 1, "log": ["creation hook"]}
    assert Job.objects.count() == 2


def test_bulk_create_takes_a_generator_in_batches():
    Job.objects.bulk_create((Job(name="noop") for _ in range(25)), batch_size=10)

    assert Job.objects.count() == 25


def test_depths_leave_out_future_jobs_on_request():
    queue.enqueue("noop", queue_name="a")
    queue.enqueue("noop", queue_name="a", run_after=LATER)

    assert queue.depths() == {"a": 2}
    assert queue.depths(exclude_future_jobs=True) == {"a": 1}


def test_a_star_has_queue_depth_name_all_queues_in_which_jobs_wait(capsys):
    for queue_name in ("b", "a", "b"):
        queue.enqueue("noop", queue_name=queue_name)
    call_command("queue_depth", "*")

    assert capsys.readouterr().out == "event=queue_depths a=1 b=2\n"


def test_a_job_may_be_enqueued_for_so_long_from_now():
    before = django_timezone.now()
    job = queue.enqueue("noop", run_after=timedelta(hours=1))
    queue.enqueue_many("noop", [None], run_after=timedelta(hours=1))

    for row in Job.objects.all():
        assert (
            before + timedelta(hours=1)
            <= row.run_after
            <= django_timezone.now() + timedelta(hours=1)
        )
    with pytest.raises(InvalidJob, match=r"run_after.*timezone.now"):
        Job.objects.create(name="noop", run_after=timedelta(hours=1))
    assert Job.objects.get(pk=job.pk).run_after == job.run_after


def test_what_is_no_name_is_refused_with_the_way_to_enqueue_it():
    with pytest.raises(TypeError, match=r"by its own enqueue\(\)"):
        queue.enqueue(test_jobs_belong_to_the_caller_s_transaction, {})
    assert not Job.objects.exists()


EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
NEVER = [
    datetime.max.replace(tzinfo=WEST),
    datetime.max.replace(tzinfo=timezone.utc),
    datetime.min.replace(tzinfo=EAST),
    datetime.min.replace(tzinfo=timezone.utc),
    str(datetime.max.replace(tzinfo=WEST)),
    "soon",
    5,
]


WAYS_IN = {
    "one": lambda **values: queue.enqueue("noop", **values),
    "many": lambda **values: queue.enqueue_many("noop", [{}], **values),
    "bulk": lambda **values: Job.objects.bulk_create([Job(name="noop", **values)]),
}


@pytest.mark.parametrize("run_after", NEVER, ids=repr)
@pytest.mark.parametrize("way_in", WAYS_IN)
def test_a_time_that_no_database_could_give_back_is_refused_before_the_insert(run_after, way_in):
    with transaction.atomic():
        with pytest.raises(InvalidJob) as raised:
            WAYS_IN[way_in](run_after=run_after)
        assert not Job.objects.exists()  # the caller's transaction goes on

    assert raised.value.field == "run_after"


@pytest.mark.parametrize(
    "run_after",
    [datetime(2, 1, 1, tzinfo=EAST), datetime(9998, 12, 31, 23, 59, tzinfo=WEST)],
    ids=repr,
)
def test_the_first_and_the_last_time_come_back_as_they_were(run_after):
    job = queue.enqueue("noop", run_after=run_after)
    queue.enqueue_many("noop", [{}], run_after=run_after)

    assert {each.run_after for each in Job.objects.all()} == {run_after}
    job.refresh_from_db()
    assert job.run_after == run_after


@pytest.mark.parametrize("wait", [timedelta.max, timedelta.min], ids=repr)
def test_a_wait_beyond_all_years_is_refused(wait):
    with pytest.raises(InvalidJob, match="run_after"):
        queue.enqueue("noop", run_after=wait)
    with pytest.raises(InvalidJob, match="run_after"):
        Enqueuer("noop").using(run_after=wait)


REFUSED_BY_SOME_DATABASE = [
    {"workspace": {"a": "b\0"}},
    {"workspace": {"a\0": [{"b": "c"}]}},
    {"workspace": {"a": ["lone \ud800"]}},
    {"queue_name": "a\0"},
    {"queue_name": "\udfff"},
    {"queue_name": ""},
    {"priority": "x"},
    {"priority": float("nan")},
    {"priority": float("inf")},
    {"priority": "99999"},
]


@pytest.mark.parametrize("values", REFUSED_BY_SOME_DATABASE, ids=ascii)
@pytest.mark.parametrize("way_in", WAYS_IN)
def test_what_some_database_refuses_is_refused_by_us_and_the_caller_s_transaction_goes_on(
    values, way_in
):
    if way_in == "many" and "workspace" in values:

        def enqueue(workspace):
            return queue.enqueue_many("noop", [{}, workspace])

    else:
        enqueue = WAYS_IN[way_in]
    with transaction.atomic():
        with pytest.raises((InvalidJob, WorkspaceNotJSON)):
            enqueue(**values)
        assert not Job.objects.exists()


@pytest.mark.parametrize("field", ["queue_name", "priority"])
def test_a_column_that_may_not_be_empty_is_no_integrity_error(field):
    with transaction.atomic():
        with pytest.raises(InvalidJob) as raised:
            Job.objects.create(name="noop", **{field: None})
        assert not Job.objects.exists()

    assert raised.value.field == field


def test_texts_that_only_look_like_those_are_stored():
    workspace = {"\\u0000": "C:\\ud800", "𝄞": "\\\\u0000 𝄞😀"}
    queue.enqueue("noop", workspace)
    queue.enqueue_many("noop", [workspace])

    assert [job.workspace for job in Job.objects.all()] == [workspace] * 2
