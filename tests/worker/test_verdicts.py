"""What a task, its job's `retry`, a cancel or a crash makes of an attempt that did not succeed."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timedelta, timezone

import pytest
from django.db import connection, transaction

from django_dbq.clock import aware_now
from django_dbq.engines import Claim
from django_dbq.exceptions import (
    Cancel,
    Fail,
    JobCancelled,
    JobInterrupted,
    JobTimeout,
    PoisonJob,
    Retry,
    Snooze,
    WorkerDied,
)
from django_dbq.models import Attempt, Job
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import (
    CalledOff,
    Completed,
    Declined,
    Failed,
    HandedBack,
    Requeued,
    Retried,
    Snoozed,
    path_of,
)
from django_dbq.rules.states import State
from django_dbq.worker import executor
from django_dbq.worker.connections import open_transactions
from tests.worker.conftest import nothing, raising, row

pytestmark = pytest.mark.django_db

LATER = timedelta(days=30)


def perform(job):
    """One attempt, in whatever transaction the test is."""
    return executor.perform(job, already_open=open_transactions())


fail = raising(LookupError("no such thing"))


@pytest.fixture
def settle(acknowledger):
    """One attempt at a claimed job, written down as a worker does; the row afterwards."""

    def settle(job):
        acknowledger.add(job, perform(job))
        acknowledger.flush()
        return row(job)

    return settle


@pytest.fixture
def claim(engine):
    """Claim the only job as a worker, long after all that was put off is due."""

    def claim(worker_id=1):
        (job,) = engine.claim(
            Claim(["default"], limit=1, worker_id=worker_id, now=aware_now() + LATER)
        )
        return job

    return claim


@pytest.fixture
def die(engine):
    """The worker that holds the job dies, and somebody finds out."""

    def die(job, **death):
        death.setdefault("was_running", frozenset([job.pk]))
        engine.rescue(
            job.worker_id,
            Death(f"host:{job.worker_id}", "killed by signal 9", **death),
            now=aware_now() + LATER,
        )

    return die


@pytest.fixture
def called():
    """The names of the hooks that ran, and what they were given."""
    return []


@pytest.fixture
def hooks(called):
    """A hook of each kind that only notes that it ran."""

    def noting(key):
        return lambda job, *error: called.append((key, *error))

    keys = ("pre_task_hook", "post_task_hook", "failure_hook", "retry_hook")
    return {key: noting(key) for key in keys}


def names(called):
    return [name for name, *_ in called]


# ── Nothing of it unless it is declared ──────────────────────────────────────────────────────────


def test_a_job_of_3_3_fails_at_its_first_error(declare, claimed, settle, hooks, called):
    del hooks["retry_hook"]
    declare(fail, **hooks)
    job = settle(claimed())

    assert (job.state, job.attempts, job.crashes) == (State.FAILED, 1, 0)
    assert (job.run_after, job.killed_at, job.cancel_requested_at) == (None, None, None)
    assert names(called) == ["pre_task_hook", "failure_hook", "post_task_hook"]


def test_a_retry_hook_without_a_policy_never_runs(declare, claimed, settle, hooks, called):
    declare(fail, **hooks)

    assert settle(claimed()).state == State.FAILED
    assert "retry_hook" not in names(called)


# ── Retries ──────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_attempt_is_followed_by_another_one_after_a_while(declare, claimed, settle):
    declare(fail, retry={"backoff": 60, "jitter": False})
    before = aware_now()
    job = settle(claimed())

    assert (job.state, job.attempts, job.worker_id) == (State.READY, 1, None)
    assert before < job.run_after - timedelta(seconds=60) < aware_now()
    assert Attempt.objects.get(job_id=job.pk).number == 1


def test_after_the_last_attempt_the_job_is_failed_with_all_its_stories(
    declare, claimed, claim, settle, hooks, called
):
    declare(fail, retry=3, **hooks)
    job = claimed()
    assert settle(job).state == State.READY
    assert settle(claim()).state == State.READY
    assert settle(claim()).state == State.FAILED

    stories = Attempt.objects.filter(job_id=job.pk)
    assert list(stories.values_list("number", flat=True)) == [1, 2, 3]
    assert set(stories.values_list("worker", "exception")) == {("host:1", "builtins.LookupError")}
    assert names(called) == [
        *("pre_task_hook", "retry_hook", "post_task_hook") * 2,
        *("pre_task_hook", "failure_hook", "post_task_hook"),
    ]
    assert isinstance(called[1][1], LookupError)


def test_only_the_task_that_failed_runs_again_with_what_the_last_good_one_saved(
    declare, claimed, claim, settle
):
    seen = []

    def first(job):
        seen.append("first")
        job.workspace["list"].append("by the first")

    def second(job):
        seen.append(dict(job.workspace, list=list(job.workspace["list"])))
        job.workspace["list"].append("by the second")
        job.workspace["half"] = "done"
        job.priority, job.queue_name = 9, "elsewhere"
        if len(seen) < 3:
            raise LookupError

    declare(first, second, retry={"max_attempts": 2})
    settle(claimed({"list": []}))
    job = settle(claim())
    assert (job.state, job.priority, job.queue_name) == (State.READY, 0, "default")
    assert job.workspace == {"list": ["by the first"]}

    job = settle(claim())
    assert job.state == State.COMPLETE
    assert seen == ["first", {"list": ["by the first"]}, {"list": ["by the first"]}]
    assert job.workspace == {"list": ["by the first", "by the second"], "half": "done"}


def test_what_a_retry_hook_changes_is_kept(declare, claimed, claim, settle):
    tomorrow = aware_now() + timedelta(days=1)

    def spoil(job):
        job.workspace["spoilt"] = True
        raise LookupError

    def hook(job, error):
        job.workspace["tries"] = job.workspace.get("tries", 0) + 1
        job.priority, job.run_after = -1, tomorrow + timedelta(hours=job.attempts)

    declare(spoil, retry={}, retry_hook=hook)
    settle(claimed())
    job = settle(claim())

    assert job.workspace == {"tries": 2}
    assert (job.priority, job.run_after) == (-1, tomorrow + timedelta(hours=2))


def test_a_failure_after_all_retries_keeps_what_the_task_changed(declare, claimed, settle):
    """As 3.3 does (C14): whoever looks at a FAILED job sees how far it came."""

    def task(job):
        job.workspace["came"] = "so far"
        raise LookupError

    declare(task, retry=1)

    assert settle(claimed()).workspace == {"came": "so far"}


def test_each_task_has_its_attempts_for_itself(declare, claimed, claim, settle):
    def once_only(job):
        if job.attempts == 1:
            raise LookupError

    declare(once_only, once_only, retry=2)
    settle(claimed())

    assert settle(claim()).attempts == 0  # on to the second task
    assert settle(claim()).attempts == 1
    assert settle(claim()).state == State.COMPLETE


def test_a_pre_task_hook_that_raises_is_retried_like_its_task(declare, claimed, settle):
    declare(nothing, pre_task_hook=fail, retry={})

    assert settle(claimed()).state == State.READY


@pytest.mark.parametrize(
    ("error", "state"), [(OSError(), State.READY), (ValueError(), State.FAILED)], ids=repr
)
def test_only_the_errors_that_are_declared_are_retried(declare, claimed, settle, error, state):
    declare(raising(error), retry={"on": ["OSError"]})

    assert settle(claimed()).state == state


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), JobTimeout()], ids=repr)
def test_errors_that_are_no_exceptions_are_retried_too(declare, claimed, settle, error):
    declare(raising(error), retry={})

    assert settle(claimed()).state == State.READY


def test_a_function_decides(declare, claimed, claim, settle):
    asked = []

    def decide(job, exception, attempt):
        asked.append((str(job.pk), type(exception), attempt))
        return attempt < 3 and 0

    declare(fail)
    job = claimed()
    declare(fail, retry=decide)
    settle(job)
    assert settle(claim()).state == State.READY
    assert asked == [(str(job.pk), LookupError, 1), (str(job.pk), LookupError, 2)]


def broken_policy(job, exception, attempt):
    raise ZeroDivisionError("in the policy")


@pytest.mark.parametrize(
    "retry",
    [broken_policy, lambda job, exception, attempt: "soon", {"on": ["no.such.Error"]}],
    ids=["raises", "answers nonsense", "names no class"],
)
def test_a_policy_that_is_broken_is_logged_and_the_job_is_failed(
    declare, claimed, settle, retry, caplog, hooks, called
):
    declare(fail, retry=retry, **hooks)

    assert settle(claimed()).state == State.FAILED
    assert "its `retry` raised" in caplog.text
    assert "failure_hook" in names(called)
    assert Attempt.objects.get().exception == "builtins.LookupError"


def test_a_retry_hook_that_raises_is_logged_and_changes_nothing(declare, claimed, settle, caplog):
    declare(fail, retry={}, retry_hook=raising(ZeroDivisionError("in the hook")))

    assert settle(claimed()).state == State.READY
    assert "ZeroDivisionError" in caplog.text


def test_a_retry_hook_may_call_it_off(declare, claimed, settle):
    def hook(job, error):
        job.state = State.FAILED

    declare(fail, retry={}, retry_hook=hook)

    assert settle(claimed()).state == State.FAILED


def test_a_failure_hook_s_own_way_to_try_again_still_works(declare, claimed):
    def again(job, error):
        job.state = State.READY

    declare(fail, retry=1, failure_hook=again)

    assert isinstance(perform(claimed()), Requeued)


def test_a_failure_that_is_retried_is_a_warning_with_the_wait_and_the_last_one_an_error(
    declare, claimed, claim, settle, caplog
):
    declare(fail, retry={"max_attempts": 2, "backoff": 60, "jitter": False})
    settle(claimed())
    settle(claim())

    first, last = (each for each in caplog.records if each.getMessage().startswith("Job failed: "))
    assert first.levelno == logging.WARNING
    assert "attempt=1: LookupError: no such thing; next try in 60.0 s" in first.getMessage()
    assert last.levelno == logging.ERROR
    assert last.getMessage().endswith("attempt=2: LookupError: no such thing")


# ── What a task raises to steer its job ──────────────────────────────────────────────────────────


def test_a_task_may_ask_for_another_attempt(declare, claimed, settle):
    declare(raising(Retry("no ink", after=timedelta(hours=2))))
    before = aware_now()
    job = settle(claimed())

    assert (job.state, job.attempts) == (State.READY, 1)
    assert before < job.run_after - timedelta(hours=2) < aware_now()
    assert Attempt.objects.get().message == "no ink"


def test_a_task_that_asks_gets_no_more_attempts_than_are_declared(
    declare, claimed, claim, settle, hooks, called
):
    declare(raising(Retry(after=0)), retry=2, **hooks)
    settle(claimed())

    assert settle(claim()).state == State.FAILED
    assert [name for name in names(called) if "task" not in name] == ["retry_hook", "failure_hook"]


def test_a_task_may_give_up_whatever_retries_are_declared(declare, claimed, settle, hooks, called):
    error = Fail("no such customer")
    declare(raising(error), retry=5, **hooks)
    job = settle(claimed())

    assert (job.state, job.attempts) == (State.FAILED, 1)
    assert called[1] == ("failure_hook", error)
    assert Attempt.objects.get().message == "no such customer"


def test_a_snooze_costs_no_attempt_and_keeps_the_workspace(
    declare, claimed, claim, settle, hooks, called
):
    def task(job):
        job.workspace["asked"] = job.workspace.get("asked", 0) + 1
        raise Snooze(timedelta(minutes=5))

    declare(task, retry=1, **hooks)
    before = aware_now()
    job = settle(claimed())
    assert (job.state, job.attempts, job.worker_id) == (State.READY, 0, None)
    assert before < job.run_after - timedelta(minutes=5) < aware_now()

    for _ in range(3):
        job = settle(claim())
    assert (job.state, job.attempts, job.workspace) == (State.READY, 0, {"asked": 4})
    assert not Attempt.objects.exists()
    assert names(called) == ["pre_task_hook", "post_task_hook"] * 4


def test_a_snooze_after_a_failed_attempt_leaves_that_one_counted(declare, claimed, claim, settle):
    errors = iter([LookupError(), Snooze(0), LookupError()])

    def task(job):
        raise next(errors)

    declare(task, retry=2)
    settle(claimed())
    assert settle(claim()).attempts == 1

    job = settle(claim())
    assert (job.state, job.attempts) == (State.FAILED, 2)


def test_a_snooze_may_name_the_moment(declare, claimed, settle):
    moment = datetime(2031, 5, 4, 12, tzinfo=timezone.utc)
    declare(raising(Snooze(until=moment)))

    assert settle(claimed()).run_after == moment


def test_a_snooze_in_a_project_without_time_zones_takes_its_naive_times(declare, claimed, settings):
    settings.USE_TZ = False
    moment = datetime(2031, 5, 4, 12)
    declare(raising(Snooze(until=moment)))

    assert perform(claimed()) == Snoozed(attempts=0, until=moment)


@pytest.mark.parametrize("kind", [Snooze, Retry], ids=lambda kind: kind.__name__)
def test_a_wait_that_makes_no_sense_is_an_error_of_the_task(declare, claimed, settle, kind):
    def task(job):
        raise kind("soon") if kind is Snooze else kind(after="soon")

    declare(task)

    assert settle(claimed()).state == State.FAILED
    assert Attempt.objects.get().exception == "builtins.ValueError"


def test_a_task_may_call_its_job_off_and_only_the_post_hook_is_told(
    declare, claimed, settle, hooks, called
):
    def task(job):
        job.workspace["until"] = "here"
        raise Cancel("the customer left")

    declare(task, nothing, retry=5, **hooks)
    job = settle(claimed())

    assert (job.state, job.cancel_reason) == (State.CANCELLED, "the customer left")
    assert job.workspace == {"until": "here"}
    assert job.finished_at is not None
    assert names(called) == ["pre_task_hook", "post_task_hook"]
    assert not Attempt.objects.exists()


def test_a_job_that_is_called_off_just_before_its_attempt_fails_waits_for_no_other(
    declare, claimed, settle
):
    def task(job):
        assert not job.cancel_requested  # which is asked once a second
        Job.objects.filter(pk=job.pk).cancel("enough")
        raise ValueError("too late")

    declare(task, retry={"max_attempts": 5, "backoff": 3600})

    assert settle(claimed()).state == State.CANCELLED


# ── Interruptions ────────────────────────────────────────────────────────────────────────────────


def test_an_interrupted_task_goes_back_as_it_was_and_costs_no_attempt(
    declare, claimed, claim, settle, hooks, called
):
    def task(job):
        job.workspace["half"] = "done"
        raise JobInterrupted

    declare(task, retry=1, **hooks)
    job = settle(claimed({"kept": 1}))
    assert (job.state, job.attempts, job.worker_id) == (State.READY, 0, None)
    assert job.workspace == {"kept": 1}
    assert job.started_at is not None  # not as good as new: its task has run
    assert names(called) == ["pre_task_hook", "post_task_hook"]
    assert not Attempt.objects.exists()
    assert isinstance(perform(claim()), HandedBack)


def test_a_task_that_was_cancelled_while_it_ran_ends_the_job(
    declare, claimed, settle, hooks, called
):
    def task(job):
        job.workspace["until"] = "here"
        raise JobCancelled

    declare(task, nothing, retry=5, **hooks)
    job = claimed()
    row(job).cancel("by the operator")
    job = settle(job)

    assert (job.state, job.cancel_reason) == (State.CANCELLED, "by the operator")
    assert job.workspace == {"until": "here"}
    assert names(called) == ["pre_task_hook", "post_task_hook"]
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("error", [LookupError(), Snooze(5)], ids=repr)
def test_a_job_that_was_cancelled_meanwhile_is_not_put_off(declare, claimed, settle, error):
    def task(job):
        Job.objects.get(pk=job.pk).cancel("by the operator")
        job.workspace["until"] = "here"
        raise error

    declare(task, retry={})

    job = settle(claimed())
    assert (job.state, job.workspace) == (State.CANCELLED, {"until": "here"})


def test_a_job_that_was_cancelled_before_it_started_does_not_start(
    declare, claimed, claim, settle, hooks, called, engine
):
    declare(fail, **hooks)
    job = claimed()
    row(job).cancel("too late")
    engine.hand_back([job], now=aware_now())
    job = settle(claim())

    assert (job.state, job.cancel_reason) == (State.CANCELLED, "too late")
    assert called == []


def test_a_task_that_succeeds_in_spite_of_a_cancel_has_succeeded(declare, claimed, claim, settle):
    declare(lambda job: Job.objects.get(pk=job.pk).cancel(), fail)
    job = settle(claimed())
    assert (job.state, job.task_index) == (State.READY, 1)

    assert settle(claim()).state == State.CANCELLED  # and its next task does not start


def test_a_timeout_that_the_task_lets_pass_is_a_failed_attempt(declare, claimed, settle):
    declare(raising(JobTimeout()))

    assert settle(claimed()).state == State.FAILED
    assert Attempt.objects.get().exception == path_of(JobTimeout)


def test_only_task_and_pre_hook_may_be_interrupted(declare, claimed):
    inside, seen = [], {}

    class Interruptible:
        def __enter__(self):
            inside.append(True)

        def __exit__(self, *error):
            inside.clear()

    def look(name):
        return lambda job, *error: seen.update({name: bool(inside)})

    def task(job):
        look("task")(job)
        fail(job)

    declare(
        task,
        pre_task_hook=look("pre_task_hook"),
        failure_hook=look("failure_hook"),
        post_task_hook=look("post_task_hook"),
    )
    executor.perform(claimed(), already_open=open_transactions(), interruptible=Interruptible())

    assert seen == {
        "pre_task_hook": True,
        "task": True,
        "failure_hook": False,
        "post_task_hook": False,
    }


# ── Crashes ──────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_its_workers_died_of_is_failed_by_one_that_lives(
    declare, claimed, claim, die, settle, hooks, called
):
    ran = []
    declare(ran.append, retry={"max_attempts": None}, **hooks)
    die(claimed())
    for worker_id in (2, 3):
        die(claim(worker_id))
    job = settle(claim(4))

    assert (job.state, job.crashes, job.attempts) == (State.FAILED, 3, 1)
    assert ran == []  # it is judged without being run
    assert names(called) == ["failure_hook", "post_task_hook"]
    (_, poison), _ = called
    assert isinstance(poison, PoisonJob)
    assert (poison.crashes, poison.workers) == (3, ("host:1", "host:2", "host:3"))
    kinds = list(Attempt.objects.values_list("exception", flat=True))
    assert kinds == [path_of(WorkerDied)] * 3 + [path_of(PoisonJob)]


def test_a_worker_that_dies_of_the_failure_hook_is_the_last(
    declare, claimed, claim, die, settle, hooks, called
):
    declare(nothing, **hooks)
    die(claimed())
    for worker_id in (2, 3, 4):  # the fourth ran the hook
        die(claim(worker_id))
    job = settle(claim(5))

    assert (job.state, job.crashes) == (State.FAILED, 4)
    assert called == []


@pytest.mark.django_db(transaction=True)
def test_what_a_task_has_saved_itself_is_there_for_the_next_attempt(
    declare, claimed, claim, settle
):
    def save_half(job):
        job.workspace["checkpoint"] = job.workspace.get("checkpoint", 0) + 1
        job.save()
        job.workspace["spoilt"] = True
        raise LookupError

    def note_retry(job, exception):
        job.workspace["retried"] = job.attempts

    declare(save_half, retry=3, retry_hook=note_retry)
    assert settle(claimed()).workspace == {"checkpoint": 1, "retried": 1}
    assert settle(claim()).workspace == {"checkpoint": 2, "retried": 2}


@pytest.mark.django_db(transaction=True)
def test_what_a_task_has_saved_and_rolled_back_is_no_checkpoint(declare, claimed, settle):
    def save_in_vain(job):
        job.workspace["kept"] = True
        with contextlib.suppress(LookupError), transaction.atomic():
            job.save()
            raise LookupError

    declare(save_in_vain)
    assert settle(claimed()).workspace == {"kept": True}


def test_how_many_workers_may_die_of_a_task_is_a_setting(
    declare, claimed, claim, die, settle, settings
):
    settings.DBQ = {"MAX_CRASHES": 1}
    declare(nothing)
    die(claimed())

    assert settle(claim()).state == State.FAILED


def test_fewer_deaths_are_no_verdict(declare, claimed, claim, die, settle):
    declare(nothing)
    die(claimed())
    die(claim(2))

    assert settle(claim(3)).state == State.COMPLETE


def test_the_next_task_is_not_charged_with_the_deaths_of_the_last_one(
    declare, claimed, claim, die, settle
):
    declare(nothing, nothing)
    die(claimed())
    die(claim(2))
    assert settle(claim(3)).crashes == 0


def test_a_failure_hook_may_send_a_poisonous_job_round_again(
    declare, claimed, claim, die, settle, settings
):
    settings.DBQ = {"MAX_CRASHES": 1}

    def again(job, error):
        job.state = State.READY

    declare(nothing, failure_hook=again)
    die(claimed())
    job = settle(claim(2))
    assert (job.state, job.crashes) == (State.READY, 0)

    assert settle(claim(3)).state == State.COMPLETE


def test_a_job_whose_worker_was_made_to_end_is_not_charged(declare, claimed, claim, die, settle):
    declare(nothing)
    for worker_id in range(2, 8):
        die(claim(worker_id) if worker_id > 2 else claimed(), is_crash=False)

    job = claim(9)
    assert (job.crashes, job.attempts) == (0, 1)
    assert not Attempt.objects.exists()
    assert settle(job).state == State.COMPLETE


# ── Killed for overrunning ───────────────────────────────────────────────────────────────────────


@pytest.fixture
def overran(die):
    return lambda job: die(job, overran=frozenset([job.pk]), is_crash=False)


def test_a_task_that_was_killed_for_its_timeout_has_failed_by_it(
    declare, claimed, claim, overran, settle, hooks, called
):
    ran = []
    declare(ran.append, timeout=1, **hooks)
    overran(claimed())
    job = settle(claim())

    assert (job.state, job.attempts, job.crashes, job.killed_at) == (State.FAILED, 1, 0, None)
    assert ran == []
    assert isinstance(called[0][1], JobTimeout)
    assert names(called) == ["failure_hook", "post_task_hook"]
    (attempt,) = Attempt.objects.all()  # told by who buried the worker, and once only
    assert (attempt.exception, attempt.number) == (path_of(JobTimeout), 1)


def test_a_task_that_was_killed_for_its_timeout_is_retried_as_its_policy_says(
    declare, claimed, claim, overran, settle, hooks, called
):
    ran = []
    declare(ran.append, timeout=1, retry=2, **hooks)
    overran(claimed())
    job = settle(claim())
    assert (job.state, job.attempts, job.killed_at) == (State.READY, 1, None)
    assert names(called) == ["retry_hook", "post_task_hook"]

    overran(claim())
    job = settle(claim())
    assert (job.state, job.attempts) == (State.FAILED, 2)
    assert list(Attempt.objects.values_list("number", flat=True)) == [1, 2]
    assert ran == []


def test_once_judged_the_next_attempt_runs(declare, claimed, claim, overran, settle):
    declare(nothing, timeout=1, retry=2)
    overran(claimed())
    settle(claim())

    assert settle(claim()).state == State.COMPLETE


# ── Jobs of other code ───────────────────────────────────────────────────────────────────────────


def test_a_job_that_is_declined_is_as_good_as_new(declare, claimed, settle, settings):
    declare(nothing)
    job = claimed()
    jobs, settings.JOBS = settings.JOBS, {}
    back = settle(job)
    assert (back.state, back.attempts, back.started_at) == (State.NEW, 0, None)

    settings.JOBS = jobs
    assert isinstance(perform(job), Completed)


def test_a_declined_job_is_not_judged_where_nobody_knows_its_hooks(
    declare, claimed, claim, die, settings
):
    settings.DBQ = {"MAX_CRASHES": 1}
    declare(nothing)
    die(claimed())
    settings.JOBS = {}

    assert isinstance(perform(claim()), Declined)


# ── Compared with one another ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LookupError(), Retried),
        (Retry(), Retried),
        (Fail(), Failed),
        (Snooze(1), Snoozed),
        (Cancel(), CalledOff),
        (JobCancelled(), CalledOff),
        (JobInterrupted(), HandedBack),
        (JobTimeout(), Retried),
    ],
    ids=repr,
)
def test_every_way_to_end_is_logged_and_changes_nothing_of_the_row_itself(
    declare, claimed, caplog, error, kind
):
    caplog.set_level(logging.INFO, "django_dbq.worker")
    declare(raising(error), retry={})
    job = claimed()
    before = Job.objects.filter(pk=job.pk).values().get()
    outcome = perform(job)

    assert type(outcome) is kind
    assert Job.objects.filter(pk=job.pk).values().get() == before
    assert f"outcome={outcome.state.value}" in caplog.messages[-1]
    assert not connection.needs_rollback
