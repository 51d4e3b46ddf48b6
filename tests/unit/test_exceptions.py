"""The tree of errors."""

from __future__ import annotations

import pickle
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from django_dbq import exceptions
from django_dbq.exceptions import (
    AlreadyEnqueued,
    Cancel,
    CannotAdopt,
    DatabaseNotReady,
    DBQError,
    DjangoTaskNotFound,
    Fail,
    InvalidDeclaration,
    InvalidJob,
    InvalidMetadata,
    InvalidOption,
    JobCancelled,
    JobInterrupted,
    JobInterruption,
    JobNotDeclared,
    JobTimeout,
    LeaseLost,
    PayloadTooLarge,
    PoisonJob,
    Retry,
    Snooze,
    TaskNotDeclared,
    TaskNotFound,
    TooManyJobs,
    TransactionLeftOpen,
    UnknownJobOption,
    UnregisteredTask,
    WaitInTransaction,
    WaitTimeout,
    WorkerDied,
    WorkspaceNotJSON,
    WrongState,
)

EXAMPLES = [
    JobNotDeclared("mial", ["mail", "call"]),
    InvalidDeclaration("JOBS is a list.", hint="Make it a dict."),
    UnknownJobOption("An unknown key.", hint="These are known."),
    TaskNotDeclared("mail", "app.gone", ["app.send"]),
    TaskNotDeclared("mail", 7, ["app.send"]),
    DjangoTaskNotFound("app.tasks.send", "app.tasks has no 'send'"),
    UnregisteredTask("os.system", "it is a builtin_function, and no Django task"),
    TaskNotFound("app.send", "no such module"),
    TaskNotFound("app.Odd", "no such module", "error class"),
    InvalidJob("priority", "99999 is outside."),
    PayloadTooLarge("mail", 2_000_000, 1_048_576),
    AlreadyEnqueued(SimpleNamespace(name="mail", pk="c0ffee", state="READY")),
    InvalidMetadata("it is a list, and should be a dict"),
    WorkspaceNotJSON("mail", "a set is not JSON"),
    TransactionLeftOpen("default"),
    LeaseLost("c0ffee"),
    InvalidOption("threads", -1, "a number of threads from 1 up"),
    DatabaseNotReady("default", "it is down.", hint="Start it."),
    CannotAdopt("django_tasks_db", "there is no such table", hint="Give --database."),
    WrongState("c0ffee", "PROCESSING", ["COMPLETE", "FAILED"]),
    TooManyJobs(1000, "endless"),
    WaitTimeout("c0ffee", "mail", "PROCESSING", 2.5),
    WaitInTransaction("default"),
    WorkerDied("It was killed by signal 9."),
    PoisonJob(3, ["one:7", "two:8"]),
]

# What a task raises to say how its job goes on.
STEERING = [
    Retry(),
    Retry("no ink"),
    Retry("no ink", after=timedelta(minutes=5)),
    Snooze(60),
    Snooze(for_=timedelta(days=1)),
    Snooze(until=datetime(2031, 5, 4, tzinfo=timezone.utc)),
    Cancel("the customer left"),
    Fail("no such customer"),
]

INTERRUPTIONS = [JobTimeout(), JobCancelled(), JobInterrupted()]

# What code written for 3.3 catches, or anybody who expects Python's own kinds.
OLD_NAMES = {
    JobNotDeclared: KeyError,
    TaskNotDeclared: ValueError,
    TaskNotFound: ImportError,
    InvalidJob: ValueError,
    PayloadTooLarge: ValueError,
    InvalidOption: ValueError,
    InvalidMetadata: TypeError,
    WorkspaceNotJSON: TypeError,
    WrongState: ValueError,
    TooManyJobs: RuntimeError,
    WaitTimeout: TimeoutError,
    WaitInTransaction: RuntimeError,
}


def kinds():
    found = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    ours = [kind for kind in found if kind.__module__ == exceptions.__name__]
    return {kind for kind in ours if issubclass(kind, Exception)} - {DBQError}


def test_every_error_has_an_example_here():
    assert {type(example) for example in [*EXAMPLES, *STEERING]} == kinds()


@pytest.mark.parametrize("error", [*EXAMPLES, *STEERING], ids=lambda error: type(error).__name__)
def test_every_error_is_a_dbq_error(error):
    assert isinstance(error, DBQError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_the_message_of_an_error_has_all_its_facts_in_it(error):
    for fact in vars(error).values():
        for word in fact if isinstance(fact, tuple) else [fact]:
            assert str(word) in str(error)


@pytest.mark.parametrize("error", [*EXAMPLES, *STEERING, *INTERRUPTIONS], ids=repr)
def test_an_error_survives_the_way_to_another_process(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own pickle)

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(("kind", "old"), OLD_NAMES.items())
def test_who_catches_what_3_3_raised_catches_ours(kind, old):
    assert issubclass(kind, old)


def test_a_project_that_declares_nothing_is_told_so():
    assert str(JobNotDeclared("mail")).endswith("Known are: nothing.")


def test_poison_without_names_says_so():
    assert "their names are not known" in str(PoisonJob(3, []))


@pytest.mark.parametrize("error", [Retry, Cancel, Fail])
def test_what_steers_a_job_tells_its_reason_or_what_it_means(error):
    assert str(error("no ink")) == error("no ink").reason == "no ink"
    assert str(error())


@pytest.mark.parametrize(
    "arguments",
    [{}, {"for_": 5, "until": datetime(2031, 5, 4, tzinfo=timezone.utc)}],
    ids=["neither", "both"],
)
def test_a_snooze_takes_a_duration_or_a_moment(arguments):
    with pytest.raises(TypeError, match="either"):
        Snooze(**arguments)


@pytest.mark.parametrize("wait", ["soon", -1, True, float("nan"), float("inf"), object()], ids=repr)
@pytest.mark.parametrize("ask", [lambda wait: Retry(after=wait), Snooze], ids=["Retry", "Snooze"])
def test_a_wait_that_is_no_duration_is_refused_where_it_is_raised(ask, wait):
    with pytest.raises(ValueError, match=r"(Retry|Snooze) takes a timedelta or seconds: "):
        ask(wait)


def test_a_wait_is_kept_as_a_timedelta():
    assert Retry(after=5).after == Snooze(5).for_ == timedelta(seconds=5)
    assert Retry(after=0).after == Snooze(0).for_ == timedelta(0)


@pytest.mark.parametrize("moment", ["tomorrow", 5, date(2031, 5, 4)], ids=repr)
def test_a_snooze_until_no_moment_is_refused(moment):
    with pytest.raises(TypeError, match="a datetime as until=…"):
        Snooze(until=moment)


def test_a_naive_moment_is_refused_where_time_zones_are_used(settings):
    naive = datetime(2031, 5, 4)
    with pytest.raises(ValueError, match="is naive"):
        Snooze(until=naive)
    settings.USE_TZ = False

    assert Snooze(until=naive).until == naive


@pytest.mark.parametrize("reason", [30, None, timedelta(1), KeyError("a")], ids=repr)
@pytest.mark.parametrize("error", [Retry, Cancel, Fail])
def test_a_reason_that_is_no_text_is_refused(error, reason):
    with pytest.raises(TypeError, match=f"reason of {error.__name__} must be text") as raised:
        error(reason)

    assert ("after=…" in str(raised.value)) == (error is Retry)


@pytest.mark.parametrize("error", INTERRUPTIONS, ids=repr)
def test_an_interruption_passes_through_except_exception_and_says_what_it_is(error):
    assert isinstance(error, JobInterruption)
    assert not isinstance(error, Exception)
    assert str(error)
