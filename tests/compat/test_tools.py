"""C33 to C36: counting, cleaning up, and the methods of 3.3's models."""

from __future__ import annotations

import io
import signal
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from django_dbq.models import Job
from tests.compat import functions
from tests.compat.functions import also_nothing, nothing
from tests.compat.waiting import in_another_connection

pytestmark = pytest.mark.django_db

WAITING = ["NEW", "READY"]
FINISHED = ["COMPLETE", "FAILED"]


@pytest.fixture
def make(declare):
    """Make a job in this state that was created so many hours ago."""
    declare("import", nothing, also_nothing)

    def make(state="NEW", *, hours=0.0, **fields):
        created = timezone.now() - timedelta(hours=hours)
        with mock.patch("django.utils.timezone.now", return_value=created):
            job = Job.objects.create(name="import", **fields)
        Job.objects.filter(pk=job.pk).update(state=state)
        job.refresh_from_db()
        return job

    return make


def soon():
    return timezone.now() + timedelta(minutes=5)


# ── C33: Job.get_queue_depths ────────────────────────────────────────────────────────────────────


def test_c33_the_depth_of_a_queue_is_its_number_of_new_and_ready_jobs(make):
    make("NEW")
    make("READY")
    make("NEW", queue_name="mail")

    assert Job.get_queue_depths() == {"default": 2, "mail": 1}


@pytest.mark.parametrize("state", ["PROCESSING", "STOPPING", "COMPLETE", "FAILED"])
def test_c33_jobs_that_do_not_wait_are_not_counted(make, state):
    make(state)
    make(state, queue_name="mail")
    make("NEW")

    assert Job.get_queue_depths() == {"default": 1}


def test_c33_without_jobs_there_are_no_queues():
    assert Job.get_queue_depths() == {}


def test_c33_future_jobs_are_counted_unless_they_are_left_out(make):
    make()
    make(run_after=soon())
    make(run_after=timezone.now() - timedelta(minutes=5))
    make(run_after=soon(), queue_name="mail")

    assert Job.get_queue_depths() == {"default": 3, "mail": 1}
    assert Job.get_queue_depths(exclude_future_jobs=False) == {"default": 3, "mail": 1}
    assert Job.get_queue_depths(exclude_future_jobs=True) == {"default": 2}


def test_c33_a_job_is_no_future_job_once_its_time_has_come(make):
    make(run_after=soon())

    later = timezone.now() + timedelta(minutes=6)
    with mock.patch("django.utils.timezone.now", return_value=later):
        assert Job.get_queue_depths(exclude_future_jobs=True) == {"default": 1}


# ── C34: manage.py queue_depth ───────────────────────────────────────────────────────────────────


def queue_depth(*arguments, **options):
    out = io.StringIO()
    call_command("queue_depth", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def two_queues(make):
    """In `default` two jobs, one of them in the future; in `mail` one, in the future."""
    make()
    make(run_after=soon())
    make(run_after=soon(), queue_name="mail")


def test_c34_it_prints_one_line(two_queues):
    assert queue_depth("default", "mail") == "event=queue_depths default=2 mail=1\n"


def test_c34_it_prints_the_queues_in_the_order_in_which_they_are_named(two_queues):
    assert queue_depth("mail", "default") == "event=queue_depths mail=1 default=2\n"


def test_c34_without_a_name_it_prints_the_default_queue(two_queues):
    assert queue_depth() == "event=queue_depths default=2\n"


def test_c34_an_unknown_queue_says_0(two_queues):
    assert queue_depth("nobody", "mail") == "event=queue_depths nobody=0 mail=1\n"


def test_c34_an_empty_queue_says_0():
    assert queue_depth() == "event=queue_depths default=0\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--exclude_future_jobs", "default", "mail"],
        ["default", "mail", "--exclude_future_jobs"],
        ["default", "mail", "--exclude_future_jobs=True"],
        ["--exclude_future_jobs=True", "default", "mail"],
        ["default", "mail", "--exclude_future_jobs=true"],
        ["default", "mail", "--exclude_future_jobs=1"],
    ],
)
def test_c34_the_flag_leaves_out_future_jobs_wherever_it_stands(two_queues, arguments):
    assert queue_depth(*arguments) == "event=queue_depths default=1 mail=0\n"


def test_c34_the_bare_flag_alone_means_the_default_queue(two_queues):
    assert queue_depth("--exclude_future_jobs") == "event=queue_depths default=1\n"


@pytest.mark.parametrize("text", ["False", "false", "FALSE", "no", "0"])
def test_c34_a_text_that_says_no_means_false(two_queues, text):
    line = "event=queue_depths default=2 mail=1\n"

    assert queue_depth("default", "mail", f"--exclude_future_jobs={text}") == line
    assert queue_depth(f"--exclude_future_jobs={text}", "default", "mail") == line
    assert queue_depth("default", "mail", exclude_future_jobs=text) == line


@pytest.mark.parametrize(("value", "depth"), [(True, 1), ("True", 1), (False, 2), (None, 2)])
def test_c34_call_command_takes_the_flag_as_a_keyword(two_queues, value, depth):
    assert queue_depth(exclude_future_jobs=value) == f"event=queue_depths default={depth}\n"
    line = f"event=queue_depths mail={depth - 1} default={depth}\n"
    assert queue_depth("mail", "default", exclude_future_jobs=value) == line


def test_c34_call_command_takes_the_queues_as_a_keyword(two_queues):
    assert queue_depth(queue_name=["mail"]) == "event=queue_depths mail=1\n"


# ── C35: manage.py delete_old_jobs ───────────────────────────────────────────────────────────────


def left():
    return set(Job.objects.values_list("pk", flat=True))


def by_command(**options):
    call_command("delete_old_jobs", stdout=io.StringIO(), **options)


def by_command_line(hours):
    call_command("delete_old_jobs", f"--hours={hours}", stdout=io.StringIO())


def by_code(**options):
    Job.objects.delete_old(**options)


@pytest.mark.parametrize("delete_old", [by_command, by_code])
@pytest.mark.parametrize("state", FINISHED)
def test_c35_finished_jobs_created_more_than_24_hours_ago_are_deleted(make, delete_old, state):
    make(state, hours=24.1)
    young = make(state, hours=23.9)

    delete_old()

    assert left() == {young.pk}


@pytest.mark.parametrize("delete_old", [by_command, by_code])
@pytest.mark.parametrize("state", FINISHED)
def test_c35_the_number_of_hours_can_be_given(make, delete_old, state):
    make(state, hours=5.1)
    young = make(state, hours=4.9)

    delete_old(hours=5)

    assert left() == {young.pk}


@pytest.mark.parametrize("arguments", [["--hours=5"], ["--hours", "5"]])
def test_c35_the_number_of_hours_can_be_given_on_the_command_line(make, arguments):
    make("COMPLETE", hours=5.1)
    young = make("COMPLETE", hours=4.9)

    call_command("delete_old_jobs", *arguments, stdout=io.StringIO())

    assert left() == {young.pk}


def test_c35_none_hours_means_24(make):
    make("COMPLETE", hours=24.1)
    young = make("COMPLETE", hours=23.9)

    Job.objects.delete_old(hours=None)

    assert left() == {young.pk}


@pytest.mark.parametrize(
    "delete_old",
    [lambda: by_command(hours=0), lambda: by_code(hours=0), lambda: by_command_line(0)],
)
def test_c35_0_hours_deletes_every_finished_job(make, delete_old):
    make("COMPLETE", hours=0.01)
    make("FAILED", hours=0.01)
    waiting = make("NEW", hours=0.01)

    delete_old()

    assert left() == {waiting.pk}


def test_c35_the_time_of_creation_counts_and_not_that_of_finishing(make):
    job = make("PROCESSING", hours=48)
    job.state = "COMPLETE"
    job.save()  # `modified` is now

    Job.objects.delete_old()

    assert left() == set()


@pytest.mark.parametrize("delete_old", [by_command, by_code])
def test_c35_waiting_and_running_jobs_stay_whatever_their_age(make, delete_old):
    stay = {make(state, hours=10_000).pk for state in [*WAITING, "PROCESSING"]}
    stay.add(make("NEW", hours=10_000, run_after=soon()).pk)
    make("COMPLETE", hours=10_000)

    delete_old()
    delete_old(hours=0)

    assert left() == stay


def test_c35_every_queue_is_cleaned(make):
    make("COMPLETE", hours=25, queue_name="mail")
    make("FAILED", hours=25, queue_name="import")

    Job.objects.delete_old()

    assert left() == set()


def test_c35_stopping_rows_that_no_worker_holds_are_deleted(make):
    """A 3.3 worker that was killed while it stopped left them behind."""
    make("STOPPING", hours=25)
    young = make("STOPPING", hours=1)

    Job.objects.delete_old()

    assert left() == {young.pk}


def test_c35_stopping_rows_whose_worker_is_gone_are_deleted(make):
    job = make("STOPPING", hours=25)
    Job.objects.filter(pk=job.pk).update(worker_id=987_654_321)

    Job.objects.delete_old()

    assert left() == set()


def test_c35_a_stopping_row_of_a_live_worker_stays(declare, worker_process, folder):
    declare("held", functions.hold)
    long_ago = timezone.now() - timedelta(days=10)
    with mock.patch("django.utils.timezone.now", return_value=long_ago):
        job = Job.objects.create(name="held", workspace={"folder": str(folder)})
    process = worker_process("--rate_limit", 0)
    process.wait_until(Path(folder, f"begun-{job.pk}").exists, "the job began")
    process.signal(signal.SIGTERM)
    process.wait_until(Job.objects.filter(state="STOPPING").exists, "the job was marked STOPPING")

    Job.objects.delete_old()
    by_command(hours=0)

    assert left() == {job.pk}
    Path(folder, "go-on").touch()
    process.exit_code()
    assert Job.objects.get().state == "COMPLETE"


# ── C36: get_ready_or_none and to_process ────────────────────────────────────────────────────────


def ready(queue_name="default"):
    with transaction.atomic():
        return Job.objects.get_ready_or_none(queue_name)


def to_process(queue_name="default"):
    with transaction.atomic():
        return list(Job.objects.to_process(queue_name))


def test_c36_get_ready_or_none_is_the_next_due_job_of_the_queue(make):
    make(hours=1)
    make(hours=9, priority=9, run_after=soon())
    make(hours=9, priority=9, queue_name="mail")
    make("COMPLETE", hours=9, priority=9)
    second = make(hours=2, priority=1)
    first = make("READY", hours=3, priority=1)

    assert ready() == first
    Job.objects.filter(pk=first.pk).update(state="PROCESSING")
    assert ready() == second


def test_c36_get_ready_or_none_does_not_change_the_job(make):
    job = make()

    assert ready().state == "NEW"
    assert Job.objects.values_list("state", flat=True).get(pk=job.pk) == "NEW"


def test_c36_get_ready_or_none_is_none_when_nothing_is_due(make):
    assert ready() is None
    make(run_after=soon())
    make("PROCESSING")
    make(queue_name="mail")

    assert ready() is None


def test_c36_to_process_is_all_due_jobs_of_the_queue_in_order(make):
    third = make(hours=1)
    make(hours=9, priority=9, run_after=soon())
    make(hours=9, priority=9, queue_name="mail")
    for state in ("PROCESSING", "STOPPING", *FINISHED):
        make(state, hours=9, priority=9)
    second = make("READY", hours=2)
    first = make(priority=1, run_after=timezone.now() - timedelta(seconds=1))

    assert to_process() == [first, second, third]


def test_c36_a_queue_name_is_taken_literally(make):
    make(queue_name="mail2")
    make(queue_name="mail%")

    assert ready("mail") is None
    assert to_process("mail") == []
    assert to_process("mail%") == [Job.objects.get(queue_name="mail%")]


def test_c36_to_process_is_a_queryset(make):
    make(workspace={"user_id": 1})
    annas = make(workspace={"user_id": 2})

    with transaction.atomic():
        jobs = Job.objects.to_process("default").filter(workspace__user_id=2)
        assert (list(jobs), jobs.count(), jobs.first()) == ([annas], 1, annas)


def test_c36_both_go_by_djangos_clock(make):
    job = make(run_after=soon())

    later = timezone.now() + timedelta(minutes=6)
    with mock.patch("django.utils.timezone.now", return_value=later):
        assert ready() == job
        assert to_process() == [job]


def without_waiting_for_locks(function):
    """Call it in a transaction of its own; None when the row is locked by somebody else."""

    def call():
        with transaction.atomic():
            with connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    cursor.execute("SET LOCAL lock_timeout = '2s'")
                else:
                    cursor.execute("SET SESSION innodb_lock_wait_timeout = 2")
            return function()

    try:
        return in_another_connection(call)
    except OperationalError as error:
        if "lock" not in str(error).lower():
            raise
        return None


@pytest.fixture
def locking_database(transactional_db):
    if not connection.features.has_select_for_update:
        pytest.skip("This database has no row locks.")


def test_c36_the_job_is_locked_for_the_callers_transaction(locking_database, make):
    job = make()

    with transaction.atomic():
        assert Job.objects.get_ready_or_none("default") == job

        def take():
            return Job.objects.select_for_update().get(pk=job.pk)

        assert without_waiting_for_locks(take) is None

    assert without_waiting_for_locks(take) == job


def test_c36_another_transaction_does_not_get_the_same_job(locking_database, make):
    job = make()

    with transaction.atomic():
        assert Job.objects.get_ready_or_none("default") == job

        def take():
            return Job.objects.get_ready_or_none("default")

        assert without_waiting_for_locks(take) is None

    assert without_waiting_for_locks(take) == job


def test_c36_a_job_that_a_transaction_holds_is_not_run_by_a_worker(
    locking_database, declare, worker_process, folder, notes
):
    declare("noted", functions.note)
    workspace = {"folder": str(folder)}
    held = Job.objects.create(name="noted", workspace=workspace, priority=9)

    with transaction.atomic():
        assert Job.objects.get_ready_or_none("default") == held
        # Somebody else enqueues a job meanwhile; the worker is to run that one.
        other = in_another_connection(lambda: Job.objects.create(name="noted", workspace=workspace))
        process = worker_process("--rate_limit", 0)
        process.wait_until(lambda: len(notes()) == 1, "a job ran")
        assert [note["job"] for note in notes()] == [str(other.pk)]
        held.state = "FAILED"
        held.save()

    process.wait_until(
        lambda: Job.objects.filter(state="COMPLETE").count() == 1, "the other was completed"
    )
    held.refresh_from_db()
    assert held.state == "FAILED"


# ── C36: the methods of Job ──────────────────────────────────────────────────────────────────────


def test_c36_update_next_task_moves_on_in_memory(make):
    job = make()
    first, second = "tests.compat.functions.nothing", "tests.compat.functions.also_nothing"
    assert job.next_task == first

    job.update_next_task()
    assert (job.next_task, job.state) == (second, "NEW")
    assert Job.objects.values_list("next_task", flat=True).get(pk=job.pk) == first
    job.update_next_task()

    assert job.next_task == ""


def test_c36_update_next_task_knows_its_place_in_a_list_that_repeats(declare):
    a, b = "tests.compat.functions.nothing", "tests.compat.functions.also_nothing"
    declare("aba", nothing, also_nothing, nothing)
    job = Job.objects.create(name="aba")
    paths = []

    while job.next_task and len(paths) < 10:
        paths.append(job.next_task)
        job.update_next_task()
        job.save()
        job = Job.objects.get(pk=job.pk)

    assert paths == [a, b, a]


def test_c36_run_next_task_calls_the_task_and_nothing_else(declare):
    calls = []

    def task(job):
        calls.append(("task", job.pk))

    def hook(job, *exception):
        calls.append("hook")

    declare("import", task, pre_task_hook=hook, post_task_hook=hook, failure_hook=hook)
    job = Job.objects.create(name="import")

    job.run_next_task()

    assert calls == [("task", job.pk)]
    assert job.state == "NEW"


def test_c36_run_next_task_lets_the_error_through(declare):
    declare("import", functions.break_down)

    with pytest.raises(functions.Broken):
        Job.objects.create(name="import").run_next_task()


def test_c36_each_hook_can_be_run(declare):
    calls = []

    def before(job):
        calls.append(("before", job.pk))

    def after(job):
        calls.append(("after", job.pk))

    def failed(job, exception):
        calls.append(("failed", job.pk, exception))

    def created(job):
        calls.append(("created", job.pk))

    declare(
        "import",
        nothing,
        pre_task_hook=before,
        post_task_hook=after,
        failure_hook=failed,
        creation_hook=created,
    )
    job = Job(name="import")
    error = ValueError("no")

    job.run_creation_hook()
    job.run_pre_task_hook()
    job.run_post_task_hook()
    job.run_failure_hook(error)

    assert calls == [
        ("created", job.pk),
        ("before", job.pk),
        ("after", job.pk),
        ("failed", job.pk, error),
    ]
    assert Job.objects.count() == 0


def test_c36_a_hook_that_is_not_declared_is_run_without_effect(declare):
    declare("import", nothing)
    job = Job(name="import")

    job.run_creation_hook()
    job.run_pre_task_hook()
    job.run_post_task_hook()
    job.run_failure_hook(ValueError("no"))


def test_c36_each_hook_can_be_named(declare):
    entry = declare(
        "import",
        nothing,
        pre_task_hook="shop.jobs.before",
        post_task_hook="shop.jobs.after",
        failure_hook="shop.jobs.failed",
        creation_hook="shop.jobs.created",
    )
    job = Job(name="import")

    assert job.get_pre_task_hook_name() == entry["pre_task_hook"]
    assert job.get_post_task_hook_name() == entry["post_task_hook"]
    assert job.get_failure_hook_name() == entry["failure_hook"]
    assert job.get_creation_hook_name() == entry["creation_hook"]
