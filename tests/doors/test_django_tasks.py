"""Django's Tasks API: the contract that its documentation and its own tests describe."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from datetime import datetime, timedelta

import django  # noqa: F401 (in conditions of skipif)
import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from django_dbq.checks import check_settings
from django_dbq.exceptions import PayloadTooLarge, UnregisteredTask
from django_dbq.models import Job
from django_dbq.rules.states import State
from django_dbq.task_backend import HOME, DatabaseBackend
from django_dbq.worker import calls, logs
from tests.doors import tasks

pytestmark = pytest.mark.django_db
READY, RUNNING, FAILED, SUCCESSFUL = (
    HOME.base.TaskResultStatus[name] for name in ("READY", "RUNNING", "FAILED", "SUCCESSFUL")
)
OURS = "django_dbq.task_backend.DatabaseBackend"


def row(result):
    return Job.objects.get(pk=result.id)


# Enqueueing


def test_a_task_is_a_job_that_waits():
    result = tasks.add.enqueue(1, second=2)

    assert (result.status, result.args, result.kwargs) == (READY, [1], {"second": 2})
    assert (result.attempts, result.started_at, result.is_finished) == (0, None, False)
    assert (result.task, result.backend, len(result.id)) == (tasks.add, "default", 36)
    assert result.enqueued_at == row(result).created
    path = tasks.add.module_path
    assert (row(result).name, row(result).next_task, row(result).backend) == (path, path, "default")


@pytest.mark.django_db(transaction=True)
def test_a_task_is_enqueued_from_async_code():
    async def enqueue():
        return await tasks.add.aenqueue(1, second=2)

    result = async_to_sync(enqueue)()

    assert (result.status, row(result).workspace) == (READY, {"args": [1], "kwargs": {"second": 2}})


def test_a_task_is_enqueued_by_one_insert(django_assert_num_queries):
    with django_assert_num_queries(1):
        tasks.add.enqueue(1)


def test_a_task_is_gone_with_the_transaction_that_it_was_enqueued_in():
    with transaction.atomic():
        tasks.add.enqueue(1)
        transaction.set_rollback(True)
    assert not Job.objects.exists()


@pytest.mark.parametrize("arguments", [(object(),), ({1, 2},), ([timezone.now()],)])
def test_arguments_that_json_cannot_express_are_a_type_error_and_nothing_is_written(arguments):
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.noop.enqueue(*arguments)
    with pytest.raises(TypeError, match="Unsupported type"):
        tasks.noop.enqueue(value=arguments[0])
    assert not Job.objects.exists()


@pytest.mark.parametrize("arguments", [(("." * 1_000,), {}), ((), {"first": "." * 1_000})])
def test_arguments_that_are_too_large_are_refused(settings, arguments):
    settings.DBQ = {"MAX_PAYLOAD_BYTES": 1_000}
    args, kwargs = arguments
    with pytest.raises(PayloadTooLarge, match=tasks.noop.module_path):
        tasks.noop.enqueue(*args, **kwargs)

    assert not Job.objects.exists()


def test_arguments_are_made_json_and_the_caller_keeps_its_own():
    given = {"numbers": (1, 2)}
    result = tasks.noop.enqueue(given)

    assert result.args == [{"numbers": [1, 2]}]
    assert given == {"numbers": (1, 2)}


def test_what_using_says_is_what_the_job_has():
    at = timezone.now() + timedelta(hours=1)
    asked = tasks.add.using(priority=7, queue_name="mail", run_after=at)
    result = asked.enqueue(1)

    job = row(result)
    assert (job.priority, job.queue_name, job.run_after) == (7, "mail", at)
    assert (tasks.add.priority, tasks.add.queue_name, tasks.add.run_after) == (0, "default", None)
    again = tasks.add.get_result(result.id)
    assert (again.task.priority, again.task.queue_name, again.task.run_after) == (7, "mail", at)


def test_what_the_decorator_says_is_what_the_job_has():
    assert (row(tasks.send_mail.enqueue("a")).priority) == 10
    assert (row(tasks.send_mail.enqueue("a")).queue_name) == "mail"


def test_run_after_may_say_how_long_from_now():
    before = timezone.now()
    job = row(tasks.add.using(run_after=timedelta(minutes=5)).enqueue(1))

    assert before + timedelta(minutes=5) <= job.run_after <= timezone.now() + timedelta(minutes=5)


def test_using_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="timeout"):
        tasks.add.using(timeout=3)


@pytest.mark.parametrize("priority", [-100, 100])
def test_priorities_go_from_minus_100_to_100(priority):
    assert row(tasks.add.using(priority=priority).enqueue(1)).priority == priority


@pytest.mark.parametrize("priority", [-101, 101, 1.5])
def test_other_priorities_are_refused_in_djangos_words(priority):
    with pytest.raises(HOME.invalid_task, match="whole number between -100 and 100"):
        tasks.add.using(priority=priority)


def test_a_naive_run_after_is_refused_in_djangos_words():
    with pytest.raises(HOME.invalid_task, match="must be an aware datetime"):
        tasks.add.using(run_after=datetime(2031, 1, 1))


def test_a_queue_that_the_backend_does_not_have_is_refused_at_enqueue_too(settings):
    task = tasks.add.using(queue_name="elsewhere")  # QUEUES is empty: any
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": ["default"]}}

    with pytest.raises(HOME.invalid_task, match="Queue 'elsewhere' is not valid for backend"):
        task.enqueue(1)
    with pytest.raises(HOME.invalid_task, match="Queue 'elsewhere' is not valid for backend"):
        async_to_sync(task.aenqueue)(1)


def test_a_function_inside_a_function_is_refused_in_djangos_words():
    with pytest.raises(HOME.invalid_task, match="must be defined at a module level"):

        @tasks.plain_task
        def inner():
            pass


def test_a_context_that_is_not_the_first_argument_is_refused_in_djangos_words():
    with pytest.raises(HOME.invalid_task, match="first argument of 'context'"):
        tasks.plain_task(takes_context=True)(tasks.not_a_task)


def test_what_a_task_declares_is_checked_where_it_is_declared():
    with pytest.raises(HOME.invalid_task, match=r"tests\.doors\.tasks\.not_a_task: timeout"):
        tasks.task(timeout=-1)(tasks.not_a_task)
    with pytest.raises(HOME.invalid_task, match="retry and max_attempts"):
        tasks.task(retry=3, max_attempts=3)(tasks.not_a_task)


@pytest.mark.skipif("django.VERSION < (6, 1)", reason="there it passes nothing on")
def test_djangos_own_decorator_passes_our_options_on():
    declared = tasks.plain_task(max_attempts=3, timeout=5)(tasks.not_a_task)
    assert (declared.max_attempts, declared.timeout) == (3, 5)


# Results


@pytest.mark.parametrize("task", [tasks.add, tasks.add_async])
def test_what_a_task_returns_is_its_result(task, work):
    result = task.enqueue(1, second=2)
    work()
    result.refresh()

    assert (result.status, result.return_value, result.attempts) == (SUCCESSFUL, 3, 1)
    assert result.started_at == result.last_attempted_at <= result.finished_at
    assert (len(result.worker_ids), result.errors) == (1, [])


@pytest.mark.django_db(transaction=True)
def test_results_are_read_from_async_code(work):
    result = tasks.add.enqueue(1, second=2)
    work()

    async def read():
        await result.arefresh()
        return await tasks.add.aget_result(result.id)

    assert async_to_sync(read)().return_value == result.return_value == 3


def test_what_a_task_raises_is_its_error(work):
    result = tasks.fail.enqueue()
    work()
    result.refresh()

    assert (result.status, result.attempts, result.is_finished) == (FAILED, 1, True)
    (error,) = result.errors
    assert error.exception_class is ValueError
    assert "no luck today" in error.traceback
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018


def test_a_task_that_waits_has_no_return_value():
    with pytest.raises(ValueError, match="has not finished yet"):
        tasks.add.enqueue(1).return_value  # noqa: B018


def test_a_task_that_leaves_is_failed_and_its_worker_lives(work):
    result = tasks.leave.enqueue()
    work()
    result.refresh()

    assert (result.status, result.errors[0].exception_class) == (FAILED, SystemExit)


def test_a_return_value_that_json_cannot_express_fails_the_task_in_djangos_words(work):
    result = tasks.return_what_is_no_json.enqueue()
    work()
    result.refresh()

    assert (result.status, result.errors[0].exception_class) == (FAILED, TypeError)
    assert "Unsupported type" in result.errors[0].traceback


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1, None]}, "käse", False])
def test_return_values_come_back_as_they_were(value, work):
    result = tasks.return_it.enqueue(value)
    work()
    result.refresh()

    assert (result.status, result.return_value) == (SUCCESSFUL, value)


def test_of_many_results_each_job_has_its_own(work):
    results = [tasks.return_it.enqueue(number) for number in range(20)]
    work(20)

    assert [tasks.return_it.get_result(each.id).return_value for each in results] == list(range(20))


@pytest.mark.parametrize("result_id", ["123", "", "no id at all", 17, None])
def test_a_malformed_id_is_a_result_that_does_not_exist(result_id):
    with pytest.raises(HOME.result_does_not_exist):
        tasks.add.get_result(result_id)
    with pytest.raises(HOME.result_does_not_exist):
        async_to_sync(HOME.tasks.default_task_backend.aget_result)(result_id)


def test_a_job_of_the_other_door_is_no_task_result():
    with pytest.raises(HOME.result_does_not_exist):
        HOME.tasks.default_task_backend.get_result(str(Job.objects.create(name="noop").pk))


def test_the_result_of_another_task_is_a_mismatch():
    result = tasks.add.enqueue(1)

    with pytest.raises(HOME.result_mismatch, match="does not match"):
        tasks.noop.get_result(result.id)


def test_a_job_that_is_called_off_has_failed_with_its_reason():
    result = tasks.add.enqueue(1)
    row(result).cancel("the order was withdrawn")
    result.refresh()

    assert (result.status, result.attempts) == (FAILED, 0)
    assert "the order was withdrawn" in result.errors[-1].traceback
    assert issubclass(result.errors[-1].exception_class, BaseException)


def test_jobs_of_the_other_door_keep_what_their_last_task_returns(settings, work):
    settings.JOBS = {"answer": ["tests.doors.tasks.answer"]}
    job = Job.objects.create(name="answer", workspace={"value": {"a": 1}})
    odd = Job.objects.create(name="answer", workspace={"value": "no json"})
    work(2)
    job.refresh_from_db()
    odd.refresh_from_db()

    assert (job.state, job.result) == ("COMPLETE", {"a": 1})
    assert (odd.state, odd.result) == ("COMPLETE", None)  # 3.3 ignores what a task returns


# Attempts


def test_a_task_that_fails_waits_as_ready_and_keeps_each_error(work):
    result = tasks.fail_until_third.enqueue()
    seen = []
    for _ in range(3):
        work()
        result.refresh()
        seen.append((result.status, result.attempts, len(result.errors)))

    assert seen == [(READY, 1, 1), (READY, 2, 2), (SUCCESSFUL, 3, 2)]
    assert result.return_value == 3
    assert result.started_at < result.last_attempted_at <= result.finished_at
    assert ["try 1" in result.errors[0].traceback, "try 2" in result.errors[1].traceback] == [
        True
    ] * 2


def test_backoff_may_be_a_function_of_the_exception_and_the_result(work):
    result = tasks.fail_as_long_as_told.enqueue()
    work(3)
    result.refresh()

    assert tasks.calls == [("again", 1), ("again", 2)]
    assert (result.status, result.attempts) == (FAILED, 2)


def test_the_context_counts_attempts_and_shows_the_result(work):
    result = tasks.tell_context.enqueue("hello")
    work()
    result.refresh()

    assert result.return_value == {
        "greeting": "hello",
        "attempt": 1,
        "id": result.id,
        "status": "RUNNING",
        "workers": 1,
    }


def test_an_atomic_task_that_fails_leaves_nothing_behind(work):
    from django.contrib.auth.models import User

    User.objects.create(username="taken")
    result, other = (
        tasks.write_in_transaction.enqueue("taken"),
        tasks.write_in_transaction.enqueue("free"),
    )
    work(2)
    result.refresh()
    other.refresh()

    assert (result.status, other.status, other.return_value) == (FAILED, SUCCESSFUL, "free")
    assert set(User.objects.values_list("username", flat=True)) == {"taken", "free"}


# Signals and logs


@pytest.fixture
def heard():
    """What receivers of Django's three signals were told, in order."""
    heard = []
    signals = HOME.signals

    def receiver(name):
        def receive(sender, task_result, **kwargs):
            heard.append(
                (name, sender, task_result.status, task_result.attempts, sys.exc_info()[0])
            )

        return receive

    receivers = {
        name: receiver(name) for name in ("task_enqueued", "task_started", "task_finished")
    }
    for name, receive in receivers.items():
        getattr(signals, name).connect(receive, weak=False)
    yield heard
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)


def test_signals_tell_of_a_task_that_succeeds(heard, work):
    tasks.add.enqueue(1)
    work()

    assert heard == [
        ("task_enqueued", DatabaseBackend, READY, 0, None),
        ("task_started", DatabaseBackend, RUNNING, 1, None),
        ("task_finished", DatabaseBackend, SUCCESSFUL, 1, None),
    ]


def test_the_end_of_a_task_that_fails_is_told_while_its_exception_is_handled(heard, work):
    tasks.fail.enqueue()
    work()

    assert heard[-1] == ("task_finished", DatabaseBackend, FAILED, 1, ValueError)


@pytest.mark.parametrize(
    ("task", "args", "state"),
    [
        (tasks.add, [1], State.PROCESSING),
        (tasks.fail, [], State.PROCESSING),
        (tasks.write_in_transaction, ["anna"], State.COMPLETE),
        (tasks.write_in_transaction, [None], State.PROCESSING),  # the database refuses it
    ],
    ids=["success", "failure", "success of an atomic task", "failure of an atomic task"],
)
def test_the_end_is_told_before_it_is_written_down_but_for_the_success_of_an_atomic_task(
    task, args, state, work
):
    states = []

    def look(task_result, **kwargs):
        states.append(row(task_result).state)

    HOME.signals.task_finished.connect(look)
    try:
        task.enqueue(*args)
        work()
    finally:
        HOME.signals.task_finished.disconnect(look)

    assert states == [state]


def test_a_task_that_is_tried_again_starts_each_time_and_finishes_once(heard, work):
    tasks.fail_until_third.enqueue()
    work(3)

    assert [name for name, *_ in heard] == ["task_enqueued", *["task_started"] * 3, "task_finished"]
    assert [attempts for _, _, _, attempts, _ in heard] == [0, 1, 2, 3, 3]


def test_a_receiver_that_raises_changes_nothing(work):
    def refuse(**kwargs):
        raise RuntimeError("a receiver")

    HOME.signals.task_started.connect(refuse)
    HOME.signals.task_finished.connect(refuse)
    try:
        result = tasks.add.enqueue(1)
        work()
    finally:
        HOME.signals.task_started.disconnect(refuse)
        HOME.signals.task_finished.disconnect(refuse)
    result.refresh()
    assert result.status == SUCCESSFUL


def test_djangos_own_log_lines_are_written(caplog, work):
    name = "django.tasks" if HOME.package == "django.tasks" else "django_tasks"
    with caplog.at_level(logging.DEBUG, logger=name):
        good, bad = tasks.add.enqueue(1), tasks.fail.enqueue()
        work(2)

    lines = [
        (each.levelname, each.getMessage()) for each in caplog.records if each.name.startswith(name)
    ]
    for result, level, status in ((good, "INFO", "SUCCESSFUL"), (bad, "ERROR", "FAILED")):
        told = [line for line in lines if result.id in line[1]]
        assert [each for each, _ in told] == ["DEBUG", "INFO", level]
        assert "enqueued" in told[0][1]
        assert "state=RUNNING" in told[1][1]
        assert f"state={status}" in told[2][1]
    (error,) = [
        each for each in caplog.records if each.name.startswith(name) and each.levelname == "ERROR"
    ]
    assert error.exc_info[0] is ValueError


def test_beyond_a_hundred_tasks_a_second_djangos_lines_are_left_out_but_not_for_failures(
    caplog, work, monkeypatch
):
    monkeypatch.setattr(logs.clock, "monotonic", lambda: 100.0)  # all in one second
    name = HOME.package
    monkeypatch.setitem(calls._LINES, HOME, logs.Rationed(logging.getLogger(name)))
    with caplog.at_level(logging.INFO, logger=name):
        for _ in range(110):
            tasks.noop.enqueue()
        tasks.fail.enqueue()
        work(111)

    lines = [each.getMessage() for each in caplog.records if each.name.startswith(name)]
    assert len([line for line in lines if "state=SUCCESSFUL" in line]) == logs.LINES_A_SECOND
    assert len([line for line in lines if "state=FAILED" in line]) == 1


def test_receivers_of_the_project_are_told_of_every_task_however_many(heard, work):
    for _ in range(110):
        tasks.noop.enqueue()
    work(110)

    assert [name for name, *_ in heard].count("task_started") == 110
    assert [name for name, *_ in heard].count("task_finished") == 110


# What a row may name


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("os.system", "no Django task"),
        ("tests.doors.tasks.not_a_task", "no Django task"),
        ("antigravity.fly", "does not lie in the project"),
        ("nowhere", "does not lie in the project"),
        ("", "does not lie in the project"),
    ],
)
def test_a_row_that_names_anything_else_is_failed_and_nothing_is_imported_for_it(path, why, work):
    result = tasks.add.enqueue(1)
    Job.objects.update(name=path, next_task=path)
    sys.modules.pop("antigravity", None)
    work()

    job = row(result)
    story = job_story(job)
    assert job.state == "FAILED"
    assert issubclass(import_string(story.exception), SuspiciousOperation)
    assert why in story.message
    assert "antigravity" not in sys.modules


def test_a_row_whose_task_is_not_its_own_is_failed(work):
    result = tasks.add.enqueue(1)
    Job.objects.update(next_task="tests.doors.tasks.not_a_task")
    work()

    assert row(result).state == "FAILED"
    assert job_story(row(result)).exception.endswith(UnregisteredTask.__name__)


@pytest.mark.parametrize("path", ["tests.doors.tasks.of_tomorrow", "tests.doors.tomorrow.task"])
def test_a_task_that_this_code_does_not_have_is_left_to_other_workers(path, work):
    result = tasks.add.enqueue(1)
    Job.objects.update(name=path, next_task=path)
    work()

    assert (row(result).state, row(result).attempts) in {("NEW", 0), ("READY", 0)}


def job_story(job):
    from django_dbq.models import Attempt

    return Attempt.objects.get(job_id=job.pk)


# The backend


def test_the_backend_says_what_it_can_do():
    backend = HOME.tasks.task_backends["default"]

    assert type(backend) is DatabaseBackend
    assert backend.supports_defer is backend.supports_priority is True
    assert backend.supports_async_task is backend.supports_get_result is True
    assert backend.check() == []


def test_settings_may_change_and_name_several_backends(settings):
    settings.TASKS = {
        "default": {"BACKEND": OURS, "QUEUES": []},
        "other": {"BACKEND": OURS, "QUEUES": ["special"]},
    }
    result = tasks.add.using(backend="other", queue_name="special").enqueue(1)

    assert (result.backend, row(result).backend) == ("other", "other")
    assert tasks.add.get_result(result.id).backend == "other"


def test_without_the_app_the_backends_check_says_what_to_do(settings):
    settings.INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth"]

    (error,) = HOME.tasks.task_backends["default"].check()
    assert error.id == "django_dbq.E008"
    assert "INSTALLED_APPS" in error.hint


def test_a_retention_may_name_a_django_task_that_is_there(settings):
    there, gone = tasks.add.module_path, f"{tasks.__name__}.gone"
    settings.DBQ = {"RETENTION": {"COMPLETE": 60, "JOBS": {there: None, gone: None}}}

    (message,) = check_settings()
    assert message.id == "django_dbq.W002"
    assert repr(gone) in message.msg


@pytest.mark.skipif("django.VERSION < (6, 1)", reason="Django's own cannot be pickled there")
def test_a_task_and_its_result_can_be_pickled():
    result = tasks.send_mail.enqueue("a")

    assert pickle.loads(pickle.dumps(tasks.send_mail)) == tasks.send_mail  # noqa: S301
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301


def test_the_backend_is_imported_before_any_model():
    program = (
        "from django.conf import settings; settings.configure("
        "INSTALLED_APPS=['django_dbq'], "
        f"TASKS={{'default': {{'BACKEND': {OURS!r}, 'QUEUES': []}}}});"
        "import tests.doors.tasks; import django; django.setup();"
        "from django_dbq.models import Job; print('ok')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("ok", 0), done.stderr


def test_a_task_with_a_backoff_alone_is_tried_five_times(work):
    result = tasks.fail_with_backoff_alone.enqueue()
    work(9)

    result.refresh()
    assert (result.attempts, len(result.errors)) == (5, 5)


def test_options_that_the_tasks_of_another_backend_do_not_take_are_told_with_the_backend(settings):
    settings.TASKS = {"default": {"BACKEND": f"{HOME.package}.backends.dummy.DummyBackend"}}

    with pytest.raises(ImproperlyConfigured, match=r"take no max_attempts.*DatabaseBackend"):
        tasks.task(max_attempts=3)(tasks.add.func)


def test_a_queue_that_the_settings_do_not_allow_is_told_where_to_allow_it(settings):
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": ["default"]}}

    with pytest.raises(HOME.invalid_task, match=r"settings.TASKS\['default'\]\['QUEUES'\]"):
        tasks.send_mail.enqueue("you")


def test_without_the_app_what_is_enqueued_or_read_says_what_to_do(monkeypatch):
    monkeypatch.setattr(apps, "is_installed", lambda name: False)

    for ask in (lambda: tasks.add.enqueue(1), lambda: tasks.add.get_result("1")):
        with pytest.raises(ImproperlyConfigured, match="Add 'django_dbq' to INSTALLED_APPS"):
            ask()


def test_a_wait_beyond_all_years_is_a_value_error_where_it_is_said():
    with pytest.raises(ValueError, match="run_after"):
        tasks.add.using(run_after=timedelta.max)


@pytest.mark.parametrize("text", ["nul", "half"])
def test_a_task_that_returns_what_some_database_refuses_is_tried_again(work, text):
    result = tasks.return_what_some_database_refuses.enqueue(text)
    work()
    result.refresh()

    assert (result.status, result.attempts) == (READY, 1)
    assert result.errors[0].exception_class is ValueError


@pytest.mark.parametrize("text", ["a\0b", "lone \ud800"], ids=ascii)
def test_arguments_that_some_database_refuses_leave_the_caller_s_transaction_whole(text):
    with transaction.atomic():
        with pytest.raises(TypeError, match="not JSON"):
            tasks.return_it.enqueue([{text: 1}])
        assert not Job.objects.exists()
