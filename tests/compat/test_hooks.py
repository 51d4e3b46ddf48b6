"""C8 to C14a: the four hooks, and what of the workspace is saved."""

from __future__ import annotations

import os

import pytest
from django.db import transaction

from django_dbq.models import Job
from tests.compat import functions
from tests.compat.functions import Broken, nothing

pytestmark = pytest.mark.django_db


@pytest.fixture
def events():
    """What happened, in order; the functions of the tests append to it."""
    return []


@pytest.fixture
def fully_hooked(declare, events):
    """Declare a job with tasks of these names and the three hooks of the worker; any may raise."""

    def fully_hooked(*tasks, raising=()):
        def event(name):
            def function(job, *exception):
                events.append(name)
                if name in raising:
                    raise Broken(f"in {name}")

            function.__name__ = name
            return function

        return declare(
            "import",
            *(event(name) for name in tasks),
            pre_task_hook=event("pre"),
            post_task_hook=event("post"),
            failure_hook=event("failure"),
        )

    return fully_hooked


def state_of(job):
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


def workspace_of(job):
    return Job.objects.values_list("workspace", flat=True).get(pk=job.pk)


# ── C8: the failure hook ─────────────────────────────────────────────────────────────────────────


def test_c08_the_failure_hook_gets_the_job_and_the_exception(declare, work):
    error = Broken("no such file")
    seen = []

    def task(job):
        raise error

    def hook(job, exception):
        seen.append((job, exception))

    declare("import", task, failure_hook=hook)
    created = Job.objects.create(name="import", workspace={"file": "a.csv"})

    work()

    ((job, exception),) = seen
    assert isinstance(job, Job)
    assert (job.pk, job.workspace) == (created.pk, {"file": "a.csv"})
    assert exception is error
    assert exception.__traceback__ is not None


def test_c08_the_failure_hook_finds_the_job_failed(declare, work):
    seen = []

    def hook(job, exception):
        seen.append(job.state)

    declare("import", functions.break_down, failure_hook=hook)
    Job.objects.create(name="import")

    work()

    assert seen == ["FAILED"]


def test_c08_changes_of_the_failure_hook_to_the_workspace_are_saved(declare, work):
    def hook(job, exception):
        job.workspace["reasons"].append(str(exception))
        del job.workspace["file"]

    declare("import", functions.break_down, failure_hook=hook)
    job = Job.objects.create(name="import", workspace={"file": "a.csv", "reasons": []})

    work()

    assert state_of(job) == "FAILED"
    assert workspace_of(job) == {"reasons": ["in the worker process"]}


def test_c08_the_failure_hook_does_not_run_when_all_goes_well(fully_hooked, events, work):
    fully_hooked("first", "second")
    Job.objects.create(name="import")

    work(2)

    assert "failure" not in events


def test_c08_the_failure_hook_runs_in_the_worker(declare, worker_process):
    declare("import", functions.break_down, failure_hook=functions.note_failure)
    job = Job.objects.create(name="import")

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: state_of(job) == "FAILED", "the job failed")

    name, message, pid = workspace_of(job)["failure"]
    assert (name, message) == ("Broken", "in the worker process")
    assert pid != os.getpid()


# ── C9: the creation hook ────────────────────────────────────────────────────────────────────────


def test_c09_the_creation_hook_runs_before_the_row_is_written(declare):
    seen = []

    def hook(job):
        seen.append(Job.objects.filter(pk=job.pk).exists())

    declare("import", nothing, creation_hook=hook)
    job = Job.objects.create(name="import")

    assert seen == [False]
    assert Job.objects.filter(pk=job.pk).exists()


def test_c09_changes_of_the_creation_hook_are_saved_with_the_job(declare):
    def hook(job):
        job.workspace["owner"] = "anna"
        job.priority = 7
        job.queue_name = "imports"

    declare("import", nothing, creation_hook=hook)
    job = Job.objects.create(name="import", workspace={"file": "a.csv"})

    job = Job.objects.get(pk=job.pk)
    assert job.workspace == {"file": "a.csv", "owner": "anna"}
    assert (job.priority, job.queue_name) == (7, "imports")


def test_c09_the_creation_hook_finds_a_workspace_and_the_first_task(declare):
    seen = []

    def hook(job):
        seen.append((job.workspace, job.next_task))

    entry = declare("import", nothing, creation_hook=hook)
    Job.objects.create(name="import")

    assert seen == [({}, entry["tasks"][0])]


def test_c09_the_creation_hook_runs_once_however_often_the_job_is_saved(declare, events):
    declare("import", nothing, creation_hook=lambda job: events.append("creation"))

    job = Job(name="import")
    assert events == []
    job.save()
    job.priority = 2
    job.save()
    Job.objects.get(pk=job.pk).save()
    Job.objects.get(pk=job.pk).save(update_fields=["workspace"])

    assert events == ["creation"]


def test_c09_the_creation_hook_runs_for_get_or_create_only_when_it_creates(declare, events):
    declare("import", nothing, creation_hook=lambda job: events.append("creation"))

    Job.objects.get_or_create(name="import")
    Job.objects.get_or_create(name="import")

    assert events == ["creation"]
    assert Job.objects.count() == 1


def test_c09_the_creation_hook_runs_in_the_process_that_creates_and_never_in_the_worker(
    declare, worker_process
):
    declare("import", nothing, functions.also_nothing, creation_hook=functions.note_creator)
    job = Job.objects.create(name="import")

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: state_of(job) == "COMPLETE", "the job was completed")

    assert workspace_of(job)["creators"] == [os.getpid()]


def test_c09_a_creation_hook_that_raises_raises_for_the_caller_and_writes_nothing(declare):
    error = Broken("not allowed")

    def hook(job):
        raise error

    declare("import", nothing, creation_hook=hook)

    with pytest.raises(Broken) as raised:
        Job.objects.create(name="import")

    assert raised.value is error
    assert Job.objects.count() == 0


def test_c09_a_creation_hook_that_raises_leaves_the_callers_transaction_usable(declare):
    def hook(job):
        if job.workspace.get("bad"):
            raise Broken("not allowed")

    declare("import", nothing, creation_hook=hook)

    with transaction.atomic():
        with pytest.raises(Broken):
            Job.objects.create(name="import", workspace={"bad": True})
        Job.objects.create(name="import")

    assert Job.objects.count() == 1


def test_c09_with_log_a_creation_hook_that_raises_is_logged_and_the_job_dropped(
    declare, settings, caplog
):
    def hook(job):
        raise Broken("not allowed")

    settings.DBQ = {"CREATION_HOOK_ERRORS": "log"}
    declare("import", nothing, creation_hook=hook)

    job = Job.objects.create(name="import")

    assert isinstance(job, Job)
    assert Job.objects.count() == 0
    assert "Traceback" in caplog.text
    assert "Broken: not allowed" in caplog.text


# ── C10 to C13: the hooks around every task ──────────────────────────────────────────────────────


def test_c10_the_task_hooks_run_around_every_task(fully_hooked, events, work):
    fully_hooked("first", "second")
    Job.objects.create(name="import")

    work(2)

    assert events == ["pre", "first", "post", "pre", "second", "post"]


def test_c10_the_task_hooks_get_the_job(declare, work):
    seen = []

    def hook(job):
        seen.append(job)

    declare("import", nothing, pre_task_hook=hook, post_task_hook=hook)
    created = Job.objects.create(name="import", workspace={"file": "a.csv"})

    work()

    assert [(job.pk, job.workspace) for job in seen] == [(created.pk, {"file": "a.csv"})] * 2


def test_c10_the_task_hooks_do_not_run_at_creation(fully_hooked, events):
    fully_hooked("first")

    Job.objects.create(name="import")

    assert events == []


def test_c10_the_task_hooks_run_in_the_worker(declare, worker_process):
    hooks = {"pre_task_hook": functions.note_before, "post_task_hook": functions.note_after}
    declare("import", nothing, functions.also_nothing, **hooks)
    job = Job.objects.create(name="import")

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: state_of(job) == "COMPLETE", "the job was completed")

    workspace = workspace_of(job)
    assert len(workspace["before"]) == len(workspace["after"]) == 2
    assert os.getpid() not in workspace["before"] + workspace["after"]


def test_c11_a_pre_task_hook_that_raises_keeps_the_task_from_running(fully_hooked, events, work):
    fully_hooked("first", "second", raising=["pre"])
    job = Job.objects.create(name="import")

    work(2)

    assert events == ["pre", "failure", "post"]
    assert state_of(job) == "FAILED"


def test_c11_the_failure_hook_gets_what_the_pre_task_hook_raised(declare, work):
    error = Broken("the disk is full")
    seen = []

    def before(job):
        job.workspace["before"] = 1
        raise error

    def failed(job, exception):
        seen.append(exception)
        job.workspace["failed"] = 1

    declare("import", nothing, pre_task_hook=before, failure_hook=failed)
    job = Job.objects.create(name="import")

    work()

    assert seen == [error]
    assert workspace_of(job) == {"before": 1, "failed": 1}


def test_c11_what_a_pre_task_hook_raised_is_logged(fully_hooked, work, caplog):
    fully_hooked("first", raising=["pre"])
    Job.objects.create(name="import")

    work()

    assert "Traceback" in caplog.text
    assert "Broken: in pre" in caplog.text


def test_c11_a_pre_task_hook_that_raises_at_the_second_task_stops_the_job_there(
    declare, events, work
):
    def before(job):
        if "first" in events:
            raise Broken("enough")

    def first(job):
        events.append("first")

    def second(job):
        events.append("second")

    declare("import", first, second, pre_task_hook=before)
    job = Job.objects.create(name="import")

    work(5)

    assert events == ["first"]
    assert state_of(job) == "FAILED"


def test_c12_the_post_task_hook_runs_after_the_failure_hook(fully_hooked, events, work):
    fully_hooked("first", "second", raising=["first"])
    job = Job.objects.create(name="import")

    work(2)

    assert events == ["pre", "first", "failure", "post"]
    assert state_of(job) == "FAILED"


def test_c12_the_post_task_hook_runs_when_the_failure_hook_raised_too(fully_hooked, events, work):
    fully_hooked("first", raising=["first", "failure"])
    job = Job.objects.create(name="import")

    work()

    assert events == ["pre", "first", "failure", "post"]
    assert state_of(job) == "FAILED"


def test_c12_changes_of_the_post_task_hook_are_saved_when_the_task_failed(declare, work):
    def after(job):
        job.workspace["log"].append("post")

    def failed(job, exception):
        job.workspace["log"].append("failure")

    declare("import", functions.break_down, post_task_hook=after, failure_hook=failed)
    job = Job.objects.create(name="import", workspace={"log": []})

    work()

    assert workspace_of(job) == {"log": ["failure", "post"]}


def test_c12_the_post_task_hook_runs_without_a_failure_hook(declare, events, work):
    declare("import", functions.break_down, post_task_hook=lambda job: events.append("post"))
    Job.objects.create(name="import")

    work()

    assert events == ["post"]


def test_c13_a_post_task_hook_that_raises_does_not_fail_the_job(fully_hooked, events, work):
    fully_hooked("first", "second", raising=["post"])
    job = Job.objects.create(name="import")

    work()
    assert state_of(job) == "READY"
    work()

    assert events == ["pre", "first", "post", "pre", "second", "post"]
    assert state_of(job) == "COMPLETE"


def test_c13_what_a_post_task_hook_raised_is_logged(fully_hooked, work, caplog):
    fully_hooked("first", raising=["post"])
    Job.objects.create(name="import")

    work()

    assert "Traceback" in caplog.text
    assert "Broken: in post" in caplog.text


def test_c13_what_the_task_changed_is_saved_though_the_post_task_hook_raised(declare, work):
    def task(job):
        job.workspace["rows"] = 12

    def after(job):
        raise Broken("in post")

    declare("import", task, post_task_hook=after)
    job = Job.objects.create(name="import")

    work()

    assert workspace_of(job) == {"rows": 12}


def test_c13_a_failed_job_stays_failed_for_its_first_reason(fully_hooked, events, work, caplog):
    fully_hooked("first", raising=["first", "post"])
    job = Job.objects.create(name="import")

    work()

    assert events == ["pre", "first", "failure", "post"]
    assert state_of(job) == "FAILED"
    assert "Broken: in first" in caplog.text
    assert "Broken: in post" in caplog.text


# ── C14: what is saved ───────────────────────────────────────────────────────────────────────────

NESTED = {
    "rows": [{"id": 1, "tags": ["new", "red"]}, {"id": 2, "tags": []}],
    "totals": {"eur": 10, "usd": 20},
    "file": "a.csv",
}


def change_in_place(job):
    """Change only what lies inside the workspace, in every way that there is."""
    job.workspace["rows"][0]["tags"].append("seen")
    job.workspace["rows"][0]["tags"].remove("new")
    job.workspace["rows"].pop()
    job.workspace["totals"]["eur"] += 5
    del job.workspace["totals"]["usd"]
    job.workspace.pop("file")


CHANGED = {"rows": [{"id": 1, "tags": ["red", "seen"]}], "totals": {"eur": 15}}


def test_c14_changes_of_a_task_in_place_and_deletions_are_saved(declare, work):
    def task(job):
        change_in_place(job)

    declare("import", task)
    job = Job.objects.create(name="import", workspace=NESTED)

    work()

    assert workspace_of(job) == CHANGED


@pytest.mark.parametrize("hook", ["pre_task_hook", "post_task_hook", "creation_hook"])
def test_c14_changes_of_a_hook_in_place_and_deletions_are_saved(declare, work, hook):
    def change(job):
        change_in_place(job)

    declare("import", nothing, **{hook: change})
    job = Job(name="import")
    job.workspace = {
        "rows": [{"id": 1, "tags": ["new", "red"]}, {"id": 2, "tags": []}],
        "totals": {"eur": 10, "usd": 20},
        "file": "a.csv",
    }
    job.save()

    work()

    assert workspace_of(job) == CHANGED


def test_c14_changes_of_the_failure_hook_in_place_and_deletions_are_saved(declare, work):
    def change(job, exception):
        change_in_place(job)

    declare("import", functions.break_down, failure_hook=change)
    job = Job.objects.create(name="import", workspace=NESTED)

    work()

    assert workspace_of(job) == CHANGED


def test_c14_what_a_task_changed_before_it_raised_is_saved(declare, work):
    def task(job):
        change_in_place(job)
        job.workspace["done"] = 3
        raise Broken("at row 4")

    declare("import", task)
    job = Job.objects.create(name="import", workspace=NESTED)

    work()

    assert state_of(job) == "FAILED"
    assert workspace_of(job) == {**CHANGED, "done": 3}


def test_c14_everything_that_touches_the_workspace_in_one_step_is_saved(declare, work):
    def touch(name):
        def function(job, *exception):
            job.workspace["touched"].append(name)

        return function

    def task(job):
        job.workspace["touched"].append("task")
        raise Broken("after the touch")

    declare(
        "import",
        task,
        creation_hook=touch("creation"),
        pre_task_hook=touch("pre"),
        failure_hook=touch("failure"),
        post_task_hook=touch("post"),
    )
    job = Job.objects.create(name="import", workspace={"touched": []})

    work()

    touched = workspace_of(job)["touched"]
    assert touched == ["creation", "pre", "task", "failure", "post"]


def test_c14_a_workspace_that_was_replaced_is_saved(declare, work):
    def task(job):
        job.workspace = {"instead": [1, 2]}

    declare("import", task)
    job = Job.objects.create(name="import", workspace=NESTED)

    work()

    assert workspace_of(job) == {"instead": [1, 2]}


def test_c14_a_workspace_that_was_emptied_is_saved(declare, work):
    def task(job):
        job.workspace.clear()

    declare("import", task)
    job = Job.objects.create(name="import", workspace=NESTED)

    work()

    assert workspace_of(job) == {}


def test_c14_each_step_starts_from_what_the_one_before_left(declare, work):
    def first(job):
        job.workspace["rows"][0]["tags"].append("first")

    def second(job):
        job.workspace["rows"][0]["tags"].append("second")
        del job.workspace["rows"][1]

    declare("import", first, second)
    job = Job.objects.create(name="import", workspace=NESTED)

    work()
    assert workspace_of(job)["rows"][0]["tags"] == ["new", "red", "first"]
    work()

    assert workspace_of(job)["rows"] == [{"id": 1, "tags": ["new", "red", "first", "second"]}]


def test_c14_a_task_may_save_its_own_job_on_the_way(declare, work):
    seen = []

    def task(job):
        job.workspace["progress"] = 50
        job.save()
        seen.append(workspace_of(job))
        job.workspace["progress"] = 100

    declare("import", task)
    job = Job.objects.create(name="import")

    work()

    assert seen == [{"progress": 50}]
    assert (state_of(job), workspace_of(job)) == ("COMPLETE", {"progress": 100})


# ── C14a: a failure hook that raises ─────────────────────────────────────────────────────────────


def test_c14a_a_failure_hook_that_raises_is_logged_and_the_job_is_failed(
    fully_hooked, work, caplog
):
    fully_hooked("first", raising=["first", "failure"])
    job = Job.objects.create(name="import")

    work()

    assert state_of(job) == "FAILED"
    assert "Broken: in first" in caplog.text
    assert "Broken: in failure" in caplog.text


def test_c14a_a_failure_hook_that_raises_does_not_lose_what_the_task_changed(declare, work):
    def task(job):
        job.workspace["rows"] = 3
        raise Broken("at row 4")

    def failed(job, exception):
        raise Broken("in the failure hook")

    declare("import", task, failure_hook=failed)
    job = Job.objects.create(name="import")

    work()

    assert (state_of(job), workspace_of(job)) == ("FAILED", {"rows": 3})


def test_c14a_the_worker_goes_on_after_a_failure_hook_that_raised(declare, work, events):
    def failed(job, exception):
        raise Broken("in the failure hook")

    declare("broken", functions.break_down, failure_hook=failed)
    declare("sound", lambda job: events.append("sound"))
    Job.objects.create(name="broken", priority=1)
    Job.objects.create(name="sound")

    work(2)

    assert events == ["sound"]


def test_c14a_the_worker_process_lives_after_a_failure_hook_that_raised(declare, worker_process):
    # `note` expects a folder in the workspace; without one it raises, here as a failure hook too,
    # which is called with one argument more than it takes.
    declare("broken", functions.break_down, failure_hook=functions.note)
    declare("sound", functions.nothing)
    broken = Job.objects.create(name="broken", priority=1)
    sound = Job.objects.create(name="sound")

    process = worker_process("--rate_limit", 0)
    process.wait_until(lambda: state_of(sound) == "COMPLETE", "the other job was completed")

    assert state_of(broken) == "FAILED"
    assert process.runs
