"""Many jobs at once: all or none, every text as it was."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.db import transaction
from django.db.models import Max, Min

from django_dbq.clock import aware_now
from django_dbq.exceptions import InvalidJob, JobNotDeclared, WorkspaceNotJSON
from django_dbq.models import Job
from tests.engines.conftest import NOW

ODD_TEXTS = [
    "",
    "plain",
    "back\\slash, \\n, \\t, \\N, \\., \\x41, \\\\",
    "tab\there",
    "new\nline\r\nand return",
    "'single' \"double\" `back`",
    "\\N",
    "\\.",
    '{"json": "in json"}',
    "ünïcödé ☃ 𝄞 \u2028 \u0085 \ufeff",
    "\u0001\u001f\u007f",
    "%s %(a)s {0} $1 ?",
]


def sorted_workspaces():
    return sorted((job.workspace for job in Job.objects.all()), key=repr)


def test_a_job_is_made_for_each_workspace_and_counted(engine):
    workspaces = [{"number": number} for number in range(25)]

    assert engine.insert_alike(Job(name="noop"), workspaces) == 25
    assert sorted_workspaces() == sorted(workspaces, key=repr)


def test_no_workspaces_make_no_jobs(engine):
    assert engine.insert_alike(Job(name="noop"), []) == 0


def test_they_are_what_a_single_create_makes(engine):
    fields = {"queue_name": "q", "priority": -3, "run_after": NOW}
    one = Job.objects.create(name="three_steps", workspace={"a": 1}, **fields)
    engine.insert_alike(Job(name="three_steps", **fields), [{"a": 1}])
    other = Job.objects.exclude(pk=one.pk).get()

    for field in Job._meta.concrete_fields:
        if field.name not in ("id", "created", "modified"):
            assert getattr(other, field.name) == getattr(one, field.name), field.name
    assert abs((other.created - one.created).total_seconds()) < 60
    assert other.pk.version == 7


@pytest.mark.parametrize("text", ODD_TEXTS, ids=ascii)
def test_every_text_arrives_as_it_was(engine, text):
    workspaces = [{"text": text}, {text: {"nested": [text]}}]
    engine.insert_alike(Job(name="noop"), workspaces)

    assert sorted_workspaces() == sorted(workspaces, key=repr)


@pytest.mark.parametrize("name", ["back\\slash", "tab\there", "line\nbreak", "a'b\"c", "\\N", "ü☃"])
def test_every_queue_name_arrives_as_it_was(engine, name):
    engine.insert_alike(Job(name="noop", queue_name=name), [{}])

    assert Job.objects.get().queue_name == name


def test_every_number_and_constant_arrives_as_it_was(engine):
    workspace = {"list": [0, -1, 2**53, 1.5, 1e-9, True, False, None, [], {}, ""]}
    engine.insert_alike(Job(name="noop"), [workspace])

    assert Job.objects.get().workspace == workspace


def test_a_workspace_of_none_is_an_empty_one(engine):
    engine.insert_alike(Job(name="noop"), [None])

    assert Job.objects.get().workspace == {}


def test_jobs_come_out_in_the_order_in_which_they_went_in(engine, claim):
    engine.insert_alike(Job(name="noop"), ({"number": number} for number in range(100)))

    claimed = claim(100, now=datetime.now(timezone.utc))
    assert [job.workspace["number"] for job in claimed] == list(range(100))


def test_they_keep_their_order_from_one_statement_to_the_next(engine, claim):
    engine.inserted_at_once = 10
    Job.objects.create(name="noop", workspace={"number": -1})
    engine.insert_alike(Job(name="noop"), ({"number": number} for number in range(35)))
    Job.objects.create(name="noop", workspace={"number": 35})

    claimed = claim(100, now=datetime.now(timezone.utc))
    assert [job.workspace["number"] for job in claimed] == list(range(-1, 36))


def test_their_ids_grow_with_the_time_at_which_they_were_created(engine):
    engine.insert_alike(Job(name="noop"), ({"number": number} for number in range(3_000)))

    jobs = list(Job.objects.order_by("created"))
    assert [job.workspace["number"] for job in jobs] == list(range(3_000))
    assert [job.pk for job in jobs] == sorted(job.pk for job in jobs)
    assert len({job.created for job in jobs}) == 3_000
    assert all(job.modified == job.created for job in jobs)


def test_none_is_from_the_future(engine):
    before = aware_now()
    engine.insert_alike(Job(name="noop"), ({} for _ in range(5_000)))
    after = aware_now()

    jobs = Job.objects.aggregate(first=Min("created"), last=Max("created"))
    assert before <= jobs["first"] < jobs["last"] <= after


@pytest.mark.parametrize("priority", [-32_768, -1, 0, 32_767])
def test_every_priority_arrives_as_it_was(engine, priority):
    engine.insert_alike(Job(name="noop", priority=priority), [{}])

    assert Job.objects.get().priority == priority


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2031, 5, 4, 12, 0, 0, 1, tzinfo=timezone.utc),
        datetime(2031, 5, 4, 12, 0, tzinfo=timezone(timedelta(hours=-7, minutes=-30))),
        datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc),
    ],
    ids=str,
)
def test_every_run_after_arrives_as_it_was(engine, moment):
    engine.insert_alike(Job(name="noop", run_after=moment), [{}])

    assert Job.objects.get().run_after == moment


def test_without_use_tz_run_after_is_local_time(engine, settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "America/New_York"
    moment = datetime(2031, 5, 4, 12, 0)
    one = Job.objects.create(name="noop", run_after=moment)
    engine.insert_alike(Job(name="noop", run_after=moment), [{}])
    other = Job.objects.exclude(pk=one.pk).get()

    assert other.run_after == one.run_after == moment
    assert abs(other.created - one.created) < timedelta(minutes=1)


def test_a_huge_workspace_arrives_as_it_was(engine, settings):
    settings.DBQ = {"MAX_PAYLOAD_BYTES": None}
    workspaces = [{"small": 1}, {"text": "ünïcödé \\ " * 100_000}, {"small": 2}]
    engine.insert_alike(Job(name="noop"), workspaces)

    assert sorted_workspaces() == sorted(workspaces, key=repr)


def test_where_they_come_from_may_use_the_same_connection(engine):
    """As in `enqueue_many("mail", ({"user": user.pk} for user in User.objects.iterator()))`."""
    half_a_batch = engine.inserted_at_once // 2

    def workspaces():
        for number in range(6 * half_a_batch):
            if number % half_a_batch == 0:
                yield {"jobs": Job.objects.count()}
            yield {"number": number}

    with transaction.atomic():
        count = engine.insert_alike(Job(name="noop"), workspaces())

    assert count == Job.objects.count() == 6 * half_a_batch + 6


@pytest.mark.parametrize("bad", [{"a": {1, 2}}, {"a": float("nan")}, {"a": NOW}, {("a",): 1}])
@pytest.mark.parametrize("place", [0, 1_500])
def test_after_a_workspace_that_is_not_json_nothing_is_inserted(engine, bad, place):
    workspaces = [{"number": number} for number in range(2_000)]
    workspaces[place] = bad

    with pytest.raises(WorkspaceNotJSON), transaction.atomic():
        engine.insert_alike(Job(name="noop"), workspaces)

    assert not Job.objects.exists()  # and the connection can be used


def test_when_their_source_breaks_nothing_is_inserted(engine):
    def workspaces():
        yield from ({} for _ in range(1_500))
        raise LookupError("the file ends here")

    with pytest.raises(LookupError), transaction.atomic():
        engine.insert_alike(Job(name="noop"), workspaces())

    assert not Job.objects.exists()


def test_a_job_that_is_not_declared_is_refused(engine):
    with pytest.raises(JobNotDeclared):
        engine.insert_alike(Job(name="nobody knows it"), [{}])


@pytest.mark.parametrize(
    "values", [{"queue_name": "q" * 61}, {"priority": 40_000}, {"run_after": datetime(2031, 1, 1)}]
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(engine, values):
    with pytest.raises(InvalidJob):
        engine.insert_alike(Job(name="noop", **values), [{}])


@pytest.mark.parametrize(
    ("queue_name", "workspace"),
    [("default", {"nul": "\0"}), ("default", {"half": "\ud800"}), ("nul\0", {})],
    ids=ascii,
)
def test_what_some_database_refuses_is_an_error_on_all_and_nothing_is_inserted(
    engine, queue_name, workspace
):
    with pytest.raises((InvalidJob, WorkspaceNotJSON)), transaction.atomic():
        engine.insert_alike(Job(name="noop", queue_name=queue_name), [{}, workspace])

    assert not Job.objects.exists()  # and the connection can be used


def test_memory_does_not_grow_with_the_number_of_jobs(engine):
    """No more workspaces are drawn ahead than are inserted at once."""
    drawn_ahead = []

    def workspaces():
        for number in range(7_000):
            if number % 1_000 == 0:
                drawn_ahead.append(number - Job.objects.count())
            yield {}

    engine.insert_alike(Job(name="noop"), workspaces())

    assert max(drawn_ahead) <= 5_000


# ── a mix ────────────────────────────────────────────────────────────────────────────────────────


def mix(count):
    """So many rows like three templates, in no order; the templates."""
    templates = [
        Job(name="noop"),
        Job(name="three_steps", queue_name="q", priority=-3, run_after=NOW),
        Job(name="short_form", queue_name="other"),
    ]
    chosen = [templates[(number * number) % 7 % 3] for number in range(count)]
    return [(template, {"number": number}) for number, template in enumerate(chosen)]


def test_each_of_a_mix_is_like_its_template_and_in_its_place(engine):
    rows = mix(300)
    assert engine.insert_each(iter(rows)) == 300

    jobs = Job.objects.order_by("created")
    assert [job.workspace["number"] for job in jobs] == list(range(300))
    for job, (template, _) in zip(jobs, rows):
        for name in ("name", "queue_name", "priority", "run_after", "state", "backend"):
            assert getattr(job, name) == getattr(template, name), name
        assert job.next_task == job.declaration.tasks[0]
        assert job.task_index == 0


def test_a_mix_of_several_statements_is_inserted_to_the_last(engine):
    count = engine.inserted_at_once + 10
    assert engine.insert_each(mix(count)) == Job.objects.count() == count

    numbers = [job.workspace["number"] for job in Job.objects.order_by("created")]
    assert numbers == list(range(count))


def test_a_mix_takes_the_queue_that_is_declared(engine, settings):
    settings.JOBS = {"job": {"tasks": ["app.f"], "queue_name": "mail", "priority": 7}}
    engine.insert_each([(Job(name="job"), {}), (Job(name="job", priority=0), {})])

    places = Job.objects.order_by("created").values_list("queue_name", "priority")
    assert list(places) == [("mail", 7), ("mail", 0)]


def test_no_mix_makes_no_jobs(engine):
    assert engine.insert_each([]) == 0


@pytest.mark.parametrize(
    ("template", "workspace", "error"),
    [
        ({"name": "nobody knows it"}, {}, JobNotDeclared),
        ({"name": "noop", "queue_name": "q" * 61}, {}, InvalidJob),
        ({"name": "noop"}, {"a": {1}}, WorkspaceNotJSON),
        ({"name": "noop"}, {"a": "." * 1_048_576}, InvalidJob),
    ],
    ids=["name", "queue", "workspace", "size"],
)
def test_a_bad_one_in_a_mix_is_told_as_elsewhere(engine, template, workspace, error):
    with pytest.raises(error), transaction.atomic():
        engine.insert_each([(Job(name="noop"), {}), (Job(**template), workspace)])

    assert not Job.objects.exists()
