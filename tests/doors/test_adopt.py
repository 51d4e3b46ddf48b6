"""`manage.py dbq_adopt django_tasks_db`: their rows become our jobs, each exactly once."""

from __future__ import annotations

import io
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from django_dbq.engines import engine_for
from django_dbq.engines.adopting import Adopting
from django_dbq.exceptions import CannotAdopt
from django_dbq.models import Attempt, Job
from django_dbq.models.arrivals import arrived
from django_dbq.models.foreign import TasksDBRow
from django_dbq.queue.adopt import adopt
from django_dbq.queue.tasks_db import as_jobs
from django_dbq.rules.states import State
from django_dbq.task_backend import HOME
from tests.doors import tasks, tasks_db
from tests.doors.tasks_db import ENQUEUED_AT, failed, finished, row, values_of

ARGUMENTS = {"args": [1], "kwargs": {"second": 2}}

pytestmark = pytest.mark.django_db(databases=["default", "other"])


@pytest.fixture(scope="module", autouse=True)
def their_table(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        for alias in ("default", "other"):
            tasks_db.create_table(alias)
    yield
    with django_db_blocker.unblock():
        for alias in ("default", "other"):
            tasks_db.drop_table(alias)


def said(*arguments, **options):
    """What the command writes."""
    out = io.StringIO()
    call_command("dbq_adopt", "django_tasks_db", *arguments, stdout=out, **options)
    return out.getvalue()


def our_ids(using="default"):
    return set(Job.objects.using(using).values_list("pk", flat=True))


# What waits


def test_a_waiting_task_becomes_a_job_under_its_id():
    pk = row(tasks.send_mail, "ada", priority=10, queue_name="mail")
    said("--apply")

    job = Job.objects.get(pk=pk)
    assert (job.name, job.next_task, job.task_index) == (tasks.send_mail.module_path,) * 2 + (0,)
    assert (job.workspace, job.backend) == ({"args": ["ada"], "kwargs": {}}, "default")
    assert (job.priority, job.queue_name, job.created) == (10, "mail", ENQUEUED_AT)
    assert (job.state, job.run_after, job.attempts) == (State.NEW, None, 0)
    assert tasks_db.ids() == set()


def test_a_worker_runs_an_adopted_task_and_its_result_is_found_under_the_id_that_its_caller_holds(
    work,
):
    pk = row(tasks.add, args_kwargs={"args": [1], "kwargs": {"second": 2}})
    said("--apply")

    assert tasks.add.get_result(str(pk)).status == "READY"
    work()
    result = tasks.add.get_result(str(pk))
    assert (result.status, result.return_value, result.enqueued_at) == (
        "SUCCESSFUL",
        3,
        ENQUEUED_AT,
    )


def test_what_is_adopted_runs_by_priority_and_then_in_the_order_of_its_enqueueing(work):
    for number in (2, 0, 3, 1):
        row(tasks.noop, number, enqueued_at=ENQUEUED_AT + timedelta(seconds=number))
    row(tasks.noop, "first", priority=1, enqueued_at=ENQUEUED_AT + timedelta(days=1))
    said("--apply")
    work(times=5)

    assert [args for args, _ in tasks.calls] == [("first",), (0,), (1,), (2,), (3,)]


def test_a_deferred_task_waits_for_the_same_moment():
    moment = ENQUEUED_AT + timedelta(days=3650)
    pk = row(tasks.add, run_after=moment)
    said("--apply")

    assert Job.objects.get(pk=pk).run_after == moment


def test_only_the_queues_that_are_asked_for_are_adopted():
    first, second, other = (row(tasks.add, queue_name=name) for name in ("a", "b", "mail"))
    said("--apply", "--queue", "a", "--queue", "b")

    assert (our_ids(), tasks_db.ids()) == ({first, second}, {other})
    said("--apply", queue="mail")
    assert our_ids() == {first, second, other}


def test_another_database_is_adopted_from_when_it_is_named():
    here, there = row(tasks.add), row(tasks.add, using="other")
    said("--apply", "--database", "other")

    assert (our_ids("other"), tasks_db.ids("other")) == ({there}, set())
    assert (our_ids(), tasks_db.ids()) == (set(), {here})


@pytest.mark.django_db(transaction=True)
def test_idle_workers_are_told_of_jobs_that_are_due():
    heard = []

    def hear(sender, queue_name, jobs, **others):
        heard.append((queue_name, jobs))

    row(tasks.add), row(tasks.add), row(tasks.add, queue_name="mail")
    row(tasks.add, queue_name="later", run_after=ENQUEUED_AT + timedelta(days=3650))
    arrived.connect(hear)
    try:
        said("--apply")
    finally:
        arrived.disconnect(hear)

    assert sorted(heard) == [("default", 2), ("mail", 1)]


# What is finished, or runs


def test_finished_tasks_stay_unless_their_results_are_asked_for():
    pks = {finished(tasks.add), failed(tasks.fail)}

    assert "Left: 1 SUCCESSFUL. Finished: --results moves them." in said("--apply")
    assert (our_ids(), tasks_db.ids()) == (set(), pks)
    said("--apply", "--results")
    assert (our_ids(), tasks_db.ids()) == (pks, set())


def test_a_result_is_read_as_before():
    pk = finished(tasks.add, 1, return_value={"three": [3]})
    said("--apply", "--results")
    result = tasks.add.get_result(str(pk))

    assert (result.status, result.return_value) == ("SUCCESSFUL", {"three": [3]})
    assert (result.args, result.errors, result.attempts) == ([1], [], 1)
    assert result.started_at == result.last_attempted_at == ENQUEUED_AT + timedelta(seconds=1)
    assert result.finished_at == ENQUEUED_AT + timedelta(seconds=2)
    assert Job.objects.get(pk=pk).next_task == ""


def test_a_result_that_is_none_is_none():
    pk = finished(tasks.add)
    said("--apply", "--results")

    assert tasks.add.get_result(str(pk)).return_value is None


def test_an_error_is_read_as_before():
    pk = failed(tasks.fail)
    said("--apply", "--results")
    result = tasks.fail.get_result(str(pk))

    assert (result.status, result.attempts) == ("FAILED", 1)
    (error,) = result.errors
    assert error.exception_class is ValueError
    assert error.traceback.endswith("ValueError: no luck today\n")
    story = Attempt.objects.get(job_id=pk)
    assert (story.message, story.worker) == ("no luck today", "Jb1XoX9W")
    assert story.finished_at == ENQUEUED_AT + timedelta(seconds=2)


def test_results_of_before_their_status_was_renamed_are_adopted():
    pk = finished(tasks.add, status="SUCCEEDED", return_value=3)
    said("--apply", "--results")

    assert tasks.add.get_result(str(pk)).return_value == 3


def test_a_running_task_is_left_alone_and_counted():
    pk = row(tasks.add, status="RUNNING", started_at=ENQUEUED_AT)

    assert "Left: 1 RUNNING. Their db_worker may be alive" in said("--apply", "--results")
    assert (our_ids(), tasks_db.ids()) == (set(), {pk})


def test_results_of_tasks_that_are_no_longer_in_the_code_are_adopted():
    pk = finished("shop.gone.task")
    said("--apply", "--results")

    assert Job.objects.get(pk=pk).state == State.COMPLETE


# Looking


def test_without_apply_an_adoption_says_what_it_would_do_and_does_nothing():
    pks = {row(tasks.add), row(tasks.add), row(tasks.send_mail, queue_name="mail")}
    pks |= {finished(tasks.add), row("tests.doors.tasks.gone"), row(tasks.add, status="RUNNING")}

    told = said()
    assert "Would adopt 3 tasks\n" in told
    assert f"  2 READY queue=default task={tasks.add.module_path}\n" in told
    assert f"  1 READY queue=mail task={tasks.send_mail.module_path}\n" in told
    assert "Not moved: 1 task. There is no Django task 'tests.doors.tasks.gone' here" in told
    assert "Left: 1 SUCCESSFUL." in told
    assert "Left: 1 RUNNING." in told
    assert "Left: 1 READY" not in told
    assert told.endswith("Nothing was changed; --apply does it.\n")
    assert (our_ids(), tasks_db.ids()) == (set(), pks)


def test_an_adoption_tells_the_same_as_a_look():
    row(tasks.add), failed(tasks.fail), row("tests.doors.tasks.gone"), row(tasks.add, status="NEW")

    look, deed = said("--results").splitlines(), said("--results", "--apply").splitlines()
    assert deed == ["Adopted 2 tasks", *look[1:-1]]


def test_all_ids_are_told_when_more_is_asked_for():
    pks = {str(row("tests.doors.tasks.gone")) for _ in range(5)}

    assert sum(pk in said() for pk in pks) == 3
    assert all(pk in said(verbosity=2) for pk in pks)


# Exactly once


def test_a_second_adoption_has_nothing_to_do():
    pks = {row(tasks.add), finished(tasks.add)}
    said("--apply", "--results")

    assert said("--apply", "--results") == "Adopted 0 tasks\n"
    assert our_ids() == pks


@contextmanager
def interrupted(after):
    """Ctrl-C as soon as so many batches are done."""
    whole, batches = Adopting.adopt, []

    def adopt_or_stop(self, *args):
        if len(batches) == after:
            raise KeyboardInterrupt
        batches.append(whole(self, *args))
        return batches[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adopting, "adopt", adopt_or_stop)
        yield


def test_an_interrupted_adoption_goes_on_where_it_was():
    pks = {row(tasks.add) for _ in range(5)}
    with interrupted(after=2), pytest.raises(KeyboardInterrupt):
        said("--apply", "--batch-size", "2")

    assert len(our_ids()) == 4
    assert our_ids() | tasks_db.ids() == pks
    assert not our_ids() & tasks_db.ids()
    assert said("--apply").startswith("Adopted 1 task\n")
    assert (our_ids(), tasks_db.ids()) == (pks, set())


def test_a_batch_is_adopted_whole_or_not_at_all(monkeypatch):
    pks = {row(tasks.add), row(tasks.add)}
    monkeypatch.setattr(TasksDBRow._base_manager._queryset_class, "_raw_delete", lambda *_: 1)

    with pytest.raises(CommandError, match="of 2 rows that were locked, 1 could be deleted"):
        said("--apply")
    assert (our_ids(), tasks_db.ids()) == (set(), pks)


def test_a_task_that_their_worker_takes_in_the_meantime_is_left_to_it(monkeypatch):
    taken, other = row(tasks.add), row(tasks.add)
    begin = Adopting._begin_to_write

    def take_before(self):
        TasksDBRow._base_manager.filter(pk=taken).update(status="RUNNING")
        begin(self)

    monkeypatch.setattr(type(engine_for("default")), "_begin_to_write", take_before)

    assert "Left: 1 RUNNING." in said("--apply")
    assert (our_ids(), tasks_db.ids()) == ({other}, {taken})


@pytest.mark.skipif("not connection.features.has_select_for_update_skip_locked")
@pytest.mark.django_db(transaction=True)
def test_a_task_that_their_worker_has_locked_is_left_to_it():
    locked, other = row(tasks.add), row(tasks.add)
    with closing(connection.copy()) as theirs:
        theirs.set_autocommit(False)
        with theirs.cursor() as cursor:
            pk = TasksDBRow._meta.pk.get_db_prep_value(locked, theirs)
            cursor.execute(
                f"SELECT status FROM {tasks_db.TABLE} WHERE id = %s FOR UPDATE SKIP LOCKED", [pk]
            )
        told = said("--apply")
        theirs.rollback()

    assert "Left: 1 READY. Locked, or new: run the command again." in told
    assert (our_ids(), tasks_db.ids()) == ({other}, {locked})
    said("--apply")
    assert (our_ids(), tasks_db.ids()) == ({locked, other}, set())


def test_a_task_of_which_there_is_a_job_already_is_not_adopted_again():
    pk = row(tasks.add)
    result = tasks.add.enqueue()
    Job.objects.filter(pk=result.id).update(id=pk)

    assert "Not moved: 1 task. There is a job of that id already." in said("--apply")
    assert tasks_db.ids() == {pk}


# And back


@pytest.fixture
def their_backend(settings):
    """`settings.TASKS` as it was before."""
    settings.TASKS = {"default": {"BACKEND": f"{HOME.package}.backends.dummy.DummyBackend"}}


def test_a_task_that_was_adopted_goes_back_as_it_was(settings):
    row(tasks.send_mail, "ada", priority=10, queue_name="mail")
    row(tasks.add, run_after=ENQUEUED_AT + timedelta(days=3650))
    finished(tasks.add, return_value=[3], worker_ids=[]), failed(tasks.fail, worker_ids=[])
    before = sorted(TasksDBRow._base_manager.values_list())
    said("--apply", "--results")
    assert tasks_db.ids() == set()

    settings.TASKS = {"default": {"BACKEND": f"{HOME.package}.backends.dummy.DummyBackend"}}
    assert said("--back", "--apply", "--results").startswith("Gave back 4 tasks\n")
    assert sorted(TasksDBRow._base_manager.values_list()) == before
    assert (our_ids(), Attempt.objects.count()) == (set(), 0)


def test_without_time_zones_a_task_may_run_at_once_in_either_table(settings):
    settings.USE_TZ = False
    pk = row(tasks.add, run_after=datetime(9999, 1, 1), enqueued_at=datetime(2026, 1, 2))
    said("--apply")
    assert Job.objects.get(pk=pk).run_after is None

    settings.TASKS = {"default": {"BACKEND": f"{HOME.package}.backends.dummy.DummyBackend"}}
    said("--back", "--apply")
    assert TasksDBRow._base_manager.get(pk=pk).run_after == datetime(9999, 1, 1)


def test_tasks_that_were_enqueued_here_go_back_too(their_backend):
    waiting = Job.objects.create(name=tasks.add.module_path, backend="default", workspace=ARGUMENTS)
    told = said("--back")
    assert f"Would give back 1 task\n  1 NEW queue=default task={tasks.add.module_path}" in told
    assert our_ids() == {waiting.pk}
    said("--back", "--apply")

    assert (our_ids(), tasks_db.ids()) == (set(), {waiting.pk})
    (there,) = TasksDBRow._base_manager.all()
    assert (there.status, there.due, there.args_kwargs) == ("READY", None, ARGUMENTS)


def test_jobs_that_run_or_are_no_django_tasks_do_not_go_back(their_backend):
    values = {"name": tasks.add.module_path, "backend": "default", "workspace": ARGUMENTS}
    held = Job.objects.create(**values)
    Job.objects.filter(pk=held.pk).update(state=State.PROCESSING, worker_id=1)
    ours = Job.objects.create(name="noop")

    assert said("--back", "--apply", "--results") == (
        "Gave back 0 tasks\n"
        "Left: 1 PROCESSING. A worker has them: run the command again when it has exited.\n"
    )
    assert (our_ids(), tasks_db.ids()) == ({held.pk, ours.pk}, set())


def test_a_cancelled_task_goes_back_as_one_that_failed(their_backend):
    values = {"name": tasks.add.module_path, "backend": "default", "workspace": ARGUMENTS}
    job = Job.objects.create(**values)
    job.cancel("not today")
    moments = {"started_at": job.created, "finished_at": job.created}
    Attempt.objects.create(job_id=job.pk, number=1, exception="builtins.OSError", **moments)
    said("--back", "--apply", "--results")

    (there,) = TasksDBRow._base_manager.all()
    assert (there.status, there.traceback) == ("FAILED", "not today")
    assert there.exception_class_path == "django_dbq.exceptions.JobCancelled"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"priority": 101}, "Its priority 101 is outside -100…100."),
        ({"queue_name": "q" * 33}, "is longer than 32."),
        ({"gate": 1}, "It waits for other jobs"),
        ({"backend": "gone"}, "settings.TASKS['gone'] is missing"),
    ],
)
def test_a_job_that_does_not_fit_their_table_stays_here(their_backend, values, reason):
    fitting = {"name": tasks.add.module_path, "backend": "default", "workspace": ARGUMENTS}
    job = Job.objects.create(**{**fitting, **values})

    assert reason in said("--back", "--apply")
    assert (our_ids(), tasks_db.ids()) == ({job.pk}, set())


def test_nothing_goes_back_as_long_as_callers_ask_us_for_results():
    result = tasks.add.enqueue(1)

    assert "it should be theirs again" in said("--back", "--apply")
    assert {str(pk) for pk in our_ids()} == {result.id}


# What cannot be adopted


WRONG = {
    "a path that is too long": ({"task_path": "tests." * 50 + "add"}, "name"),
    "a queue name that is too long": ({"queue_name": "q" * 61}, "queue_name"),
    "a priority that is too large": ({"priority": 32_768}, "32768 is outside"),
    "arguments that are a list": ({"args_kwargs": [1, 2]}, "args_kwargs"),
    "arguments without kwargs": ({"args_kwargs": {"args": []}}, "args_kwargs"),
    "args that are a dict": ({"args_kwargs": {"args": {}, "kwargs": {}}}, "args_kwargs"),
    "kwargs that are null": ({"args_kwargs": {"args": [], "kwargs": None}}, "args_kwargs"),
    "arguments with a third key": ({"args_kwargs": {"args": [], "kwargs": {}, "x": 1}}, "args_k"),
    "a task that is not there": ({"task_path": "tests.doors.tasks.gone"}, "no Django task"),
    "what is no task": ({"task_path": "tests.doors.tasks.not_a_task"}, "no Django task"),
    "a module of nobody's": ({"task_path": "antigravity.fly"}, "part of no installed app"),
    "a backend that is not there": ({"backend_name": "gone"}, "settings.TASKS['gone'] is missing"),
}


@pytest.mark.parametrize(("values", "reason"), WRONG.values(), ids=WRONG)
def test_a_row_that_cannot_become_a_job_is_refused_with_the_reason_and_the_others_go_on(
    values, reason
):
    wrong = TasksDBRow(**values_of(tasks.add, **values))
    right = TasksDBRow(**values_of(tasks.add))

    choice = as_jobs([wrong, right], using="default")
    assert [row for row, _ in choice.taken] == [right]
    ((refused, why),) = choice.refused
    assert refused is wrong
    assert reason in why


def test_rows_that_are_refused_do_not_keep_the_others_from_being_adopted():
    wrong = {row(tasks.add, args_kwargs=[]) for _ in range(3)}
    right = {row(tasks.add) for _ in range(3)}

    assert "Not moved: 3 tasks. Its args_kwargs" in said("--apply", "--batch-size", "1")
    assert (our_ids(), tasks_db.ids()) == (right, wrong)


def test_nothing_is_adopted_for_a_backend_that_would_not_find_the_results(settings):
    dummy = f"{HOME.package}.backends.dummy.DummyBackend"
    settings.TASKS = {"default": {"BACKEND": dummy}}
    pk = row(tasks.add)

    assert f"settings.TASKS['default'] is {dummy}; it should be" in said("--apply")
    assert tasks_db.ids() == {pk}


def test_a_backend_that_cannot_be_imported_is_not_ours(settings):
    settings.TASKS = {"default": {"BACKEND": "shop.gone.Backend"}}
    row(tasks.add)

    assert "settings.TASKS['default'] is shop.gone.Backend; it should be" in said("--apply")


def test_a_module_that_cannot_be_imported_costs_only_its_own_tasks(monkeypatch):
    def raise_while_importing(path):
        raise ZeroDivisionError("in a module of the project")

    monkeypatch.setattr("django_dbq.queue.tasks_db.declaration_at", raise_while_importing)
    row(tasks.add)

    assert "cannot be imported: ZeroDivisionError('in a module" in said("--apply")


# What stands in the way of all


def test_an_unknown_source_is_told_the_known_ones():
    with pytest.raises(CommandError, match="django_tasks_db"):
        call_command("dbq_adopt", "celery")


def test_a_database_without_their_table_is_named(monkeypatch):
    monkeypatch.setattr(TasksDBRow._meta, "db_table", "not_there")

    with pytest.raises(CommandError, match="'default' has no table not_there"):
        said()


def test_a_table_that_is_too_old_is_told_what_it_lacks(monkeypatch):
    described = type(connection.introspection).get_table_description
    monkeypatch.setattr(
        type(connection.introspection),
        "get_table_description",
        lambda *args: [each for each in described(*args) if each.name != "worker_ids"],
    )

    with pytest.raises(CommandError, match=r"lacks worker_ids.*migrate django_tasks_database"):
        said()


def test_nothing_goes_back_into_a_table_with_a_column_that_nothing_is_known_of(monkeypatch):
    described = type(connection.introspection).get_table_description

    def with_metadata(*args):
        columns = described(*args)
        return [*columns, columns[0]._replace(name="metadata")]

    monkeypatch.setattr(type(connection.introspection), "get_table_description", with_metadata)

    with pytest.raises(CommandError, match=r"still has metadata.*migrate django_tasks_database"):
        said("--back")
    assert said() == "Would adopt 0 tasks\n"


def test_a_database_without_our_tables_is_told_to_migrate(monkeypatch):
    monkeypatch.setattr(Job._meta, "db_table", "not_there")

    with pytest.raises(CommandError, match="migrate django_dbq --database default"):
        said()


def test_an_alias_that_settings_lack_is_named():
    with pytest.raises(CommandError, match="nowhere"):
        said("--database", "nowhere")


@pytest.mark.parametrize("size", ["0", "-1", "many", "10001"])
def test_a_batch_has_at_least_one_row_and_no_more_than_every_database_takes(size):
    with pytest.raises(CommandError, match="not a number of rows"):
        said("--batch-size", size)


# Unique tasks


def test_of_unique_tasks_that_are_the_same_one_is_adopted_and_the_others_wait_in_their_table():
    same = {
        row(tasks.rebuild, "index"),
        row(tasks.rebuild, args_kwargs={"args": [], "kwargs": {"what": "index"}}),
    }
    other = row(tasks.rebuild, "users")

    assert "It is unique" in said("--apply")
    (adopted,) = our_ids() - {other}
    assert str(adopted) == tasks.rebuild.enqueue("index").id
    assert tasks_db.ids() == same - {adopted}


def test_a_unique_task_of_which_there_is_a_job_is_not_adopted():
    tasks.rebuild.enqueue("index")
    theirs = row(tasks.rebuild, "index")

    assert "A job that is the same is there" in said("--apply")
    assert tasks_db.ids() == {theirs}


def test_a_unique_task_with_arguments_that_it_does_not_take_is_refused():
    row(tasks.rebuild, args_kwargs={"args": [], "kwargs": {"index": 1}})

    assert "missing a required argument" in said("--apply")
    assert not our_ids()


def test_from_code_too_an_unknown_source_is_told_the_known_ones():
    with pytest.raises(CannotAdopt, match="celery: it is not known"):
        adopt("celery", apply=False)
