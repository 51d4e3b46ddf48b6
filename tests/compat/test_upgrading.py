"""C37 to C39: from a 3.3 database to this version, and back, with rows and 3.3 processes in it."""

from __future__ import annotations

import io
import uuid
from datetime import datetime, timedelta
from datetime import timezone as time_zones
from pathlib import Path
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from django_dbq.models import Job
from tests.compat import functions
from tests.compat.functions import nothing
from tests.compat.rows import (
    COLUMNS,
    STATES,
    column_types,
    indexes,
    insert_row,
    primary_key,
    raw_rows,
)

pytestmark = pytest.mark.django_db

NAMES_OF_33 = [
    "0001_initial",
    "0002_auto_20151016_1027",
    "0003_auto_20180713_1000",
    "0004_auto_20210818_0247",
    "0005_job_run_after",
    "0006_alter_job_state",
]
NOTHING = "tests.compat.functions.nothing"
NOTE = "tests.compat.functions.note"
NOTE_AGAIN = "tests.compat.functions.note_again"


def state_of(pk):
    return Job.objects.values_list("state", flat=True).get(pk=pk)


def model_after(name):
    """The model `Job` as the migrations up to this one know it."""
    loader = MigrationLoader(connection)
    return loader.project_state(("django_dbq", name)).apps.get_model("django_dbq", "Job")


# ── C37: label, table, migrations ────────────────────────────────────────────────────────────────


def test_c37_the_app_label_and_the_table_are_33s():
    assert Job._meta.app_label == "django_dbq"
    assert Job._meta.db_table == "django_dbq_job"


def test_c37_the_first_six_migrations_have_33s_names_and_ours_begin_at_0007():
    loader = MigrationLoader(connection)
    names = sorted(name for app, name in loader.disk_migrations if app == "django_dbq")

    assert names[:6] == NAMES_OF_33
    assert names[6].startswith("0007_")
    for earlier, later in zip(names, names[1:]):
        assert ("django_dbq", earlier) in loader.disk_migrations["django_dbq", later].dependencies


def test_c37_a_33_database_needs_only_our_migrations(migrate):
    migrate("0006")
    out = io.StringIO()

    call_command("showmigrations", "django_dbq", format="plan", stdout=out)

    lines = out.getvalue().splitlines()
    applied = [line.split("django_dbq.")[1] for line in lines if line.startswith("[X]  django_dbq")]
    assert applied == NAMES_OF_33


EXPECTED_TYPES = {
    "sqlite": {
        "id": {"char(32)"},
        "created": {"datetime"},
        "modified": {"datetime"},
        "name": {"varchar(100)"},
        "state": {"varchar(20)"},
        "next_task": {"varchar(100)"},
        "workspace": {"text"},
        "queue_name": {"varchar(20)"},
        "priority": {"smallint"},
        "run_after": {"datetime"},
    },
    "postgresql": {
        "id": {"uuid"},
        "created": {"timestamp with time zone"},
        "modified": {"timestamp with time zone"},
        "name": {"character varying(100)"},
        "state": {"character varying(20)"},
        "next_task": {"character varying(100)"},
        "workspace": {"jsonb"},
        "queue_name": {"character varying(20)"},
        "priority": {"smallint"},
        "run_after": {"timestamp with time zone"},
    },
    "mysql": {
        "id": {"char(32)", "uuid"},  # MariaDB has a type of its own, from Django 5.0 on
        "created": {"datetime(6)"},
        "modified": {"datetime(6)"},
        "name": {"varchar(100)"},
        "state": {"varchar(20)"},
        "next_task": {"varchar(100)"},
        "workspace": {"json", "longtext"},  # MariaDB's json is a longtext with a check
        "queue_name": {"varchar(20)"},
        "priority": {"smallint", "smallint(6)"},
        "run_after": {"datetime(6)"},
    },
}


def test_c37_after_0006_the_columns_are_33s(migrate):
    migrate("0006")
    types = column_types()

    assert sorted(types) == sorted(COLUMNS)
    for column, kinds in EXPECTED_TYPES[connection.vendor].items():
        kind, may_be_null = types[column]
        assert kind in kinds, column
        assert may_be_null == (column in ("workspace", "run_after")), column


def test_c37_after_0006_the_indexes_are_33s(migrate):
    migrate("0006")

    assert primary_key() == ["id"]
    assert {tuple(columns) for columns in indexes().values()} == {
        ("created",),
        ("state",),
        ("queue_name",),
        ("priority",),
        ("run_after",),
    }


def test_c37_after_0006_the_model_has_33s_fields_and_defaults():
    fields = {field.name: field for field in model_after("0006_alter_job_state")._meta.fields}

    assert sorted(fields) == sorted(COLUMNS)
    assert fields["id"].primary_key
    assert isinstance(fields["id"].default(), uuid.UUID)
    assert fields["created"].auto_now_add
    assert fields["modified"].auto_now
    assert fields["queue_name"].default == "default"
    assert fields["priority"].default == 0
    assert [name for name in COLUMNS if fields[name].null] == ["workspace", "run_after"]
    assert {value for value, _ in fields["state"].choices} == set(STATES)


def test_c37_each_migration_of_33_does_what_it_did_there():
    models = {name: model_after(name) for name in NAMES_OF_33}

    def kind(name, field):
        return models[name]._meta.get_field(field).get_internal_type()

    def has(name, field):
        return field in {one.name for one in models[name]._meta.fields}

    first, second, third, fourth, fifth, sixth = NAMES_OF_33
    orders = [list(models[name]._meta.ordering) for name in NAMES_OF_33]
    assert orders == [["-created"], ["created"], *[["-priority", "created"]] * 4]
    assert [kind(name, "workspace") for name in (first, second, third)] == ["TextField"] * 3
    assert [kind(name, "workspace") for name in (fourth, fifth, sixth)] == ["JSONField"] * 3
    assert [has(name, "priority") for name in NAMES_OF_33] == [False] * 2 + [True] * 4
    assert [has(name, "run_after") for name in NAMES_OF_33] == [False] * 4 + [True] * 2
    choices = [dict(models[name]._meta.get_field("state").choices) for name in NAMES_OF_33]
    assert ["STOPPING" in one for one in choices] == [False] * 5 + [True]


def test_c37_rows_survive_every_single_migration_forward_and_backward(migrate):
    migrate("0005")
    insert_row(name="import", next_task=NOTHING, workspace={"file": "ä.csv", "rows": [1]})
    insert_row(name="import", next_task=NOTHING, workspace=None, priority=-4)
    before = raw_rows()

    for target in ("0006", "0007", "0006", None, "0005"):
        migrate(target)
        assert raw_rows() == before


def test_c37_a_database_of_version_2_whose_workspace_is_text_is_upgraded_too(migrate):
    """3.3's users of 2018 had 0003; `migrate` takes them all the way."""
    migrate("0004")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_dbq_job")
    migrate("0003")
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    pk = uuid.uuid4()
    columns = "id, created, modified, name, state, next_task, workspace, queue_name, priority"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO django_dbq_job ({columns}) VALUES ({', '.join(['%s'] * 9)})",
            [
                Job._meta.get_field("id").get_db_prep_value(pk, connection),
                *[now, now, "import", "NEW", NOTHING, '{"file": "a.csv"}', "default", 0],
            ],
        )

    migrate()

    job = Job.objects.get()
    assert (job.pk, job.workspace, job.run_after) == (pk, {"file": "a.csv"}, None)


def test_c37_our_migrations_can_be_taken_back_to_33s_exact_schema(migrate):
    migrate("0006")
    types, single_indexes = column_types(), sorted(map(tuple, indexes().values()))

    migrate()
    assert column_types() != types
    migrate("0006")

    assert column_types() == types
    assert sorted(map(tuple, indexes().values())) == single_indexes


def test_c37_the_published_33_makes_the_same_schema(migrate, published_33):
    migrate("0006")
    ours = column_types(), indexes(), primary_key()
    migrate("zero")

    published_33.manage("migrate", "django_dbq", "--verbosity", "0")

    assert (column_types(), indexes(), primary_key()) == ours


def test_c37_a_database_made_by_the_published_33_is_upgraded_in_place(
    migrate, published_33, declare, work
):
    declare("import", nothing)
    migrate()
    types, names = column_types(), indexes()
    migrate("zero")
    published_33.manage("migrate", "django_dbq", "--verbosity", "0")
    published_33.run(
        "from django_dbq.models import Job; Job.objects.create(name='import', workspace={'a': 1})"
    )

    migrate()

    assert (column_types(), indexes()) == (types, names)
    assert Job.objects.get().workspace == {"a": 1}
    work()
    assert Job.objects.get().state == "COMPLETE"


# ── C37a: rows that say they run, and nobody knows who runs them ─────────────────────────────────


def orphaned_jobs(*arguments):
    out = io.StringIO()
    call_command("orphaned_jobs", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def orphans(declare):
    """A PROCESSING and a STOPPING row that a 3.3 worker may be running, and their ids."""
    declare("import", nothing)
    return [
        insert_row(name="import", next_task=NOTHING, state=state, queue_name="import")
        for state in ("PROCESSING", "STOPPING")
    ]


def test_c37a_a_row_without_an_owner_is_never_rescued_by_itself(
    transactional_db, orphans, worker_process, settings
):
    settings.DBQ = {"LEASE": 1, "RATE_LIMIT": 0}
    before = raw_rows()
    # A job that is due several leases later ends the wait: the worker was there all the time.
    due = timezone.now() + timedelta(seconds=5)
    last = Job.objects.create(name="import", queue_name="import", run_after=due)

    process = worker_process("import")
    process.wait_until(lambda: state_of(last.pk) == "COMPLETE", "the last job was completed")

    Job.objects.filter(pk=last.pk).delete()
    assert raw_rows() == before


def test_c37a_a_row_without_an_owner_is_not_taken_by_a_worker(orphans, work):
    before = raw_rows()

    work(3, queue_name="import")

    assert raw_rows() == before


def test_c37a_the_command_lists_such_rows_and_changes_nothing(orphans):
    waiting = insert_row(name="import", next_task=NOTHING)
    done = insert_row(name="import", next_task=NOTHING, state="COMPLETE")
    before = raw_rows()

    listing = orphaned_jobs()

    for pk in orphans:
        assert str(pk) in listing
    assert "PROCESSING" in listing
    assert "STOPPING" in listing
    assert str(waiting) not in listing
    assert str(done) not in listing
    assert raw_rows() == before


def test_c37a_the_command_requeues_them_on_request_and_they_run(orphans, work):
    done = insert_row(name="import", next_task=NOTHING, state="COMPLETE")

    orphaned_jobs("--requeue")

    assert {state_of(pk) for pk in orphans} <= {"NEW", "READY"}
    assert state_of(done) == "COMPLETE"
    work(2, queue_name="import")
    assert {state_of(pk) for pk in orphans} == {"COMPLETE"}
    assert orphaned_jobs("--requeue").count("\n") <= 1


def test_c37a_a_requeued_job_goes_on_at_its_next_task(declare, work):
    ran = []

    def first(job):
        ran.append("first")

    def second(job):
        ran.append("second")

    entry = declare("two", first, second)
    insert_row(name="two", next_task=entry["tasks"][1], state="PROCESSING")

    orphaned_jobs("--requeue")
    work(3)

    assert ran == ["second"]


def test_c37a_a_job_that_a_live_worker_runs_is_not_listed_and_not_requeued(
    transactional_db, declare, worker_process, folder
):
    declare("held", functions.hold)
    job = Job.objects.create(name="held", workspace={"folder": str(folder)})
    process = worker_process("--rate_limit", 0)
    process.wait_until(Path(folder, f"begun-{job.pk}").exists, "the job began")

    listing = orphaned_jobs() + orphaned_jobs("--requeue")

    assert str(job.pk) not in listing
    assert state_of(job.pk) == "PROCESSING"
    Path(folder, "go-on").touch()
    process.wait_until(lambda: state_of(job.pk) == "COMPLETE", "the job was completed")


# ── C38: rows and processes of 3.3 ───────────────────────────────────────────────────────────────


@pytest.fixture
def rows_of_33(migrate, declare):
    """A 3.3 database with a row in every state and some odd ones; `{state: id}` of the former."""
    declare("import", nothing)
    migrate("0006")
    long_ago = datetime(2019, 2, 28, 23, 59, 59, 999999, tzinfo=time_zones.utc)
    ids = {}
    for number, state in enumerate(STATES):
        ids[state] = insert_row(
            name="import",
            next_task="" if state == "COMPLETE" else NOTHING,
            state=state,
            created=long_ago + timedelta(days=number),
            modified=long_ago + timedelta(days=number, hours=1),
            workspace={"state": state, "nested": {"list": [1, {"two": None}]}},
            priority=number - 3,
            run_after=long_ago if number % 2 else None,
        )
    insert_row(name="import", next_task=NOTHING, state="FAILED", workspace=None)
    insert_row(name="forgotten", next_task="gone.jobs.task", state="FAILED", queue_name="old")
    return ids


def test_c38_rows_in_any_state_survive_and_read_the_same(migrate, rows_of_33):
    before = raw_rows()

    migrate()

    assert len(before) == len(STATES) + 2
    assert raw_rows() == before
    for state, pk in rows_of_33.items():
        job = Job.objects.get(pk=pk)
        assert job.state == state
        assert job.workspace == {"state": state, "nested": {"list": [1, {"two": None}]}}
        assert job.created.year == 2019
        assert job.queue_name == "default"


def test_c38_new_and_ready_rows_run_and_no_others(migrate, rows_of_33, work):
    migrate()
    others = Job.objects.exclude(pk__in=[rows_of_33["NEW"], rows_of_33["READY"]])
    before = list(others.order_by("pk").values_list("pk", "state", "modified"))

    work(5)

    assert state_of(rows_of_33["NEW"]) == "COMPLETE"
    assert state_of(rows_of_33["READY"]) == "COMPLETE"
    assert list(others.order_by("pk").values_list("pk", "state", "modified")) == before


def test_c38_new_and_ready_rows_are_run_by_a_worker_process(migrate, rows_of_33, worker_process):
    migrate()

    process = worker_process("--rate_limit", 0)

    for state in ("NEW", "READY"):
        pk = rows_of_33[state]
        process.wait_until(lambda pk=pk: state_of(pk) == "COMPLETE", f"the {state} row ran")


def test_c38_rows_survive_the_way_back_and_forth(migrate, rows_of_33, work):
    migrate()
    work(1)
    Job.objects.create(name="import", workspace={"made": "by version 4"})
    before = raw_rows()

    migrate("0006")
    assert raw_rows() == before
    migrate()
    assert raw_rows() == before

    work(5)
    assert Job.objects.get(workspace__made="by version 4").state == "COMPLETE"


def test_c38_a_33_process_can_insert_by_its_own_columns(declare, work):
    """A rolling deploy: the schema is new, and a web process of 3.3 still enqueues."""
    declare("import", nothing)
    pk = insert_row(name="import", next_task=NOTHING, workspace={"file": "a.csv"})
    without_workspace = insert_row(name="import", next_task=NOTHING, workspace=None)

    work(2)

    assert state_of(pk) == state_of(without_workspace) == "COMPLETE"
    assert Job.objects.get(pk=pk).workspace == {"file": "a.csv"}


def test_c38_a_future_job_of_a_33_process_runs_at_its_time(declare, work):
    declare("import", nothing)
    due = timezone.now() + timedelta(hours=1)
    pk = insert_row(name="import", next_task=NOTHING, run_after=due)
    past = insert_row(name="import", next_task=NOTHING, run_after=due - timedelta(hours=2))

    work(2)
    assert (state_of(pk), state_of(past)) == ("NEW", "COMPLETE")
    with mock.patch("django.utils.timezone.now", return_value=due + timedelta(seconds=1)):
        work()

    assert state_of(pk) == "COMPLETE"


def test_c38_jobs_of_both_versions_run_in_one_order(declare, work):
    ran = []

    def task(job):
        ran.append(job.workspace["label"])

    entry = declare("import", task)
    now = timezone.now()
    for label, minutes_ago, priority in (("third", 1, 0), ("first", 9, 3), ("last", 99, -1)):
        insert_row(
            name="import",
            next_task=entry["tasks"][0],
            workspace={"label": label},
            created=now - timedelta(minutes=minutes_ago),
            priority=priority,
        )
    with mock.patch("django.utils.timezone.now", return_value=now - timedelta(minutes=5)):
        Job.objects.create(name="import", workspace={"label": "second"})

    work(4)

    assert ran == ["first", "second", "third", "last"]


def test_c38_the_published_33_enqueues_into_the_migrated_table(declare, work, published_33):
    declare("import", nothing, creation_hook=functions.note_creator)
    declare("plain", nothing)
    printed = published_33.run(
        "from django_dbq import tasks\n"
        "from django_dbq.models import Job\n"
        "print(Job.objects.create(name='import', priority=2, workspace={'file': 'a.csv'}).pk)\n"
        "first = tasks.get_next_task_name('plain')\n"
        "Job.objects.bulk_create([Job(name='plain', next_task=first) for _ in range(3)])\n"
    )
    job = Job.objects.get(name="import")
    assert str(job.pk) == printed.strip()
    assert (job.state, job.priority, job.workspace["file"]) == ("NEW", 2, "a.csv")

    work(4)

    assert Job.objects.filter(state="COMPLETE").count() == 4
    assert len(Job.objects.get(name="import").workspace["creators"]) == 1


def test_c38_the_published_33_runs_our_jobs_on_the_migrated_table(
    declare, published_33, folder, notes
):
    declare("two", functions.note, functions.note_again)
    declare("broken", functions.break_down, failure_hook=functions.note_failure)
    two = Job.objects.create(name="two", workspace={"folder": str(folder)}, priority=1)
    broken = Job.objects.create(name="broken")
    Job.objects.bulk_create([Job(name="two", queue_name="mail")])

    worker = published_33.start_worker("--rate_limit", 0)
    worker.wait_until(lambda: state_of(broken.pk) == "FAILED", "3.3 has run both jobs")

    two = Job.objects.get(pk=two.pk)
    assert (two.state, two.next_task) == ("COMPLETE", "")
    assert [note["pid"] for note in notes()] == [worker.pid] * 2
    assert Job.objects.get(pk=broken.pk).workspace["failure"][0] == "Broken"
    assert Job.objects.get(queue_name="mail").state == "NEW"


def test_c38_a_job_that_33_began_is_finished_by_us(declare, published_33, folder, notes, work):
    """3.3 wrote `next_task` and knows nothing of the place that we keep beside it."""
    entry = declare("three", functions.stop_own_worker, functions.note, functions.note_again)
    job = Job.objects.create(name="three", workspace={"folder": str(folder)})
    worker = published_33.start_worker("--rate_limit", 0)
    assert worker.exit_code() == 0
    job = Job.objects.get(pk=job.pk)
    assert (job.state, job.next_task) == ("READY", entry["tasks"][1])

    work(5)

    job.refresh_from_db()
    assert (job.state, job.next_task) == ("COMPLETE", "")
    assert len(notes()) == 3


def test_c38_a_job_that_we_began_is_finished_by_33(declare, published_33, folder, notes, work):
    entry = declare("two", functions.note, functions.note_again)
    job = Job.objects.create(name="two", workspace={"folder": str(folder)})
    work()
    assert Job.objects.get(pk=job.pk).next_task == entry["tasks"][1]

    worker = published_33.start_worker("--rate_limit", 0)
    worker.wait_until(lambda: state_of(job.pk) == "COMPLETE", "3.3 completed the job")

    assert len(notes()) == 2


def test_c38_the_published_33_deletes_and_counts_on_the_migrated_table(declare, published_33):
    declare("import", nothing)
    old = insert_row(
        name="import",
        next_task="",
        state="COMPLETE",
        created=timezone.now() - timedelta(days=3),
    )
    Job.objects.create(name="import")

    published_33.manage("delete_old_jobs")
    depths = published_33.manage("queue_depth")

    assert not Job.objects.filter(pk=old).exists()
    assert "default=1" in depths


def test_c38_after_33_has_worked_the_way_back_and_forth_is_open(
    declare, migrate, published_33, folder, work
):
    declare("two", functions.stop_own_worker, functions.note)
    for _ in range(2):
        Job.objects.create(name="two", workspace={"folder": str(folder)})
    published_33.start_worker("--rate_limit", 0).exit_code()
    before = raw_rows()
    assert sorted(row["state"] for row in before) == ["NEW", "READY"]

    migrate("0006")
    migrate()

    assert raw_rows() == before


# ── C39: nothing left to migrate ─────────────────────────────────────────────────────────────────


def test_c39_makemigrations_finds_nothing_to_do():
    out = io.StringIO()

    call_command("makemigrations", check=True, dry_run=True, stdout=out)

    assert "No changes detected" in out.getvalue()
