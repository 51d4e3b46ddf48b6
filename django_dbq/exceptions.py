"""Every error that django_dbq raises, in one tree; what a task raises to steer its job; and what is
raised inside a task from outside.

Each message says what was found, what was expected and what to do. The facts are attributes, so
that nobody has to parse text.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation

from django_dbq.durations import FIRST_YEAR, LAST_YEAR, Duration, as_wait, is_storable


class DBQError(Exception):
    """The base of all errors of this package; never raised itself."""


class JobNotDeclared(DBQError, KeyError):  # KeyError: what 3.x raised here
    """A job was created or claimed whose name no entry of `settings.JOBS` and no `@job` has."""

    def __init__(self, name: str, declared: Collection[str] = ()) -> None:
        super().__init__(name, declared)
        self.name, self.declared = name, tuple(declared)

    def __str__(self) -> str:
        known = ", ".join(sorted(self.declared)) or "nothing"
        module, dot, _ = str(self.name).rpartition(".")
        hint = (
            f" If a @job in {module} declares it: workers do not import that module. Move the job "
            "to the module `jobs` of an app, or import it in the ready() of an AppConfig."
        )
        return (
            f"settings.JOBS declares no job named {self.name!r}, nor does any @job that is known "
            f"here. Known are: {known}.{hint if dot else ''}"
        )


class InvalidDeclaration(DBQError, ValueError):
    """`settings.JOBS`, or a `@job`, does not have the shape that it should have."""

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found, hint)
        self.found, self.hint = found, hint

    def __str__(self) -> str:
        return f"{self.found} {self.hint}"


class UnknownJobOption(InvalidDeclaration):
    """A job of `settings.JOBS`, or a `@job`, has a key that means nothing here."""


class TaskNotDeclared(DBQError, ValueError):  # ValueError: what 3.x raised here
    """A job is to go on with a task that does not stand in its list.

    `task` is its dotted path, or the place that a rerun asked for.
    """

    def __init__(self, job_name: str, task: str | int, tasks: Collection[str]) -> None:
        super().__init__(job_name, task, tasks)
        self.job_name, self.task, self.tasks = job_name, task, tuple(tasks)

    def __str__(self) -> str:
        tasks = ", ".join(f"{place}: {task}" for place, task in enumerate(self.tasks))
        return (
            f"Job {self.job_name!r} has no task {self.task!r}; it is declared with {tasks}. "
            "Add the task where the job is declared; or, when the job has ended (cancel one that "
            "waits), start from one of these by queue.rerun(job, from_task=…)."
        )


class DjangoTaskNotFound(JobNotDeclared):
    """A row names a Django task that this worker's code does not have; another worker's may."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, ())
        self.path, self.reason = path, reason
        self.args = (path, reason)

    def __str__(self) -> str:
        return f"There is no Django task {self.path!r} here: {self.reason}."


class UnregisteredTask(InvalidDeclaration, SuspiciousOperation):
    """A row names something that no job may call; it was not called."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path!r} is not to be run: {self.reason}."


class TaskNotFound(DBQError, ImportError):
    """A dotted path does not lead to the function or error class that it should name."""

    def __init__(self, path: str, reason: str, wanted: str = "function") -> None:
        super().__init__(path, reason, wanted)
        self.path, self.reason, self.wanted = path, reason, wanted

    def __str__(self) -> str:
        return (
            f"{self.path!r} leads to no {self.wanted}: {self.reason}. Correct the path where the "
            "job is declared, or the module that it names."
        )


class InvalidJob(DBQError, ValueError):
    """A job cannot be stored as it is; nothing has been written."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason

    def __str__(self) -> str:
        return f"The job's {self.field} cannot be stored: {self.reason}"


class PayloadTooLarge(InvalidJob):
    """A job's workspace, or a Django task's arguments and metadata, is larger than `DBQ` allows.

    `size` and `limit` are bytes of JSON. Only what is enqueued is measured: a workspace may grow
    while its job runs.
    """

    def __init__(self, job_name: str, size: int, limit: int) -> None:
        super().__init__(
            "workspace",
            f"job {job_name!r} brings {size} bytes of JSON, and settings.DBQ['MAX_PAYLOAD_BYTES'] "
            f"allows {limit}. Keep what is large in a file or a row of its own, and its path or "
            "its key in the job.",
        )
        self.args = (job_name, size, limit)
        self.job_name, self.size, self.limit = job_name, size, limit


class AlreadyEnqueued(DBQError):
    """A job is declared `unique`, and one that is the same has not ended; nothing was written.

    `job` is that other one. `queue.enqueue` and `Job.objects.create` return it instead.
    """

    def __init__(self, job: Any) -> None:
        super().__init__(job)
        self.job = job

    def __str__(self) -> str:
        return f"A job that is the same is there: {self.job}. Wait for its end, or cancel it."


class InvalidMetadata(DBQError, TypeError):
    """The metadata of a Django task is no dict, or holds what it may not."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"The metadata of a Django task cannot be kept: {self.reason}. It is a dict of JSON "
            "values, whose keys are texts that do not begin with '_'."
        )


class WorkspaceNotJSON(DBQError, TypeError):
    """A job's workspace holds something that JSON cannot express."""

    def __init__(self, job_name: str, reason: str) -> None:
        super().__init__(job_name, reason)
        self.job_name, self.reason = job_name, reason

    def __str__(self) -> str:
        return (
            f"The workspace of job {self.job_name!r} is not JSON: {self.reason}. It may hold dicts "
            "with text keys, lists, texts, finite numbers, booleans and None; store a date as "
            "text and an object by its primary key."
        )


class TransactionLeftOpen(DBQError, RuntimeError):
    """A task returned inside a database transaction that it had begun; its work was rolled back."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.alias = alias

    def __str__(self) -> str:
        return (
            f"The task returned with a transaction open on database {self.alias!r}; it has been "
            "rolled back, so its work there is lost. Use `with transaction.atomic():`, or commit "
            "before the task returns."
        )


class LeaseLost(DBQError):
    """A worker wrote to a job that is no longer its own: somebody else has it, or it is gone."""

    def __init__(self, job_id: object) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return (
            f"Job {self.job_id} is no longer held by this worker: it was given to another one, "
            "put to rest or deleted in the meantime. Nothing was written."
        )


class InvalidOption(DBQError, ValueError):
    """A worker was asked for something that makes no sense."""

    def __init__(self, option: str, found: object, expected: str) -> None:
        super().__init__(option, found, expected)
        self.option, self.found, self.expected = option, found, expected

    def __str__(self) -> str:
        option = self.option if self.option == "queue_name" else f"--{self.option}"
        return f"{option} must be {self.expected}, not {self.found}."


class DatabaseNotReady(DBQError):
    """The worker's database cannot be reached, or lacks the tables of this version."""

    def __init__(self, alias: str, reason: str, hint: str) -> None:
        super().__init__(alias, reason, hint)
        self.alias, self.reason, self.hint = alias, reason, hint

    def __str__(self) -> str:
        return f"Database {self.alias!r} is not ready: {self.reason} {self.hint}"


class CannotAdopt(DBQError):
    """The tasks of another queue cannot be adopted; of the batch at hand nothing was written."""

    def __init__(self, source: str, reason: str, hint: str) -> None:
        super().__init__(source, reason, hint)
        self.source, self.reason, self.hint = source, reason, hint

    def __str__(self) -> str:
        return f"Cannot adopt from {self.source}: {self.reason}. {self.hint}"


class WrongState(DBQError, ValueError):
    """A job is not in a state in which this can be done to it; nothing was written."""

    def __init__(self, job_id: object, found: str, expected: Collection[str]) -> None:
        super().__init__(job_id, found, expected)
        self.job_id, self.found, self.expected = job_id, found, tuple(expected)

    def __str__(self) -> str:
        return f"Job {self.job_id} is {self.found}; it should be {' or '.join(self.expected)}."


class TooManyJobs(DBQError, RuntimeError):
    """In a test, `run_jobs` has run as many tasks as it may, and jobs are still due."""

    def __init__(self, most: int, next_job: str) -> None:
        super().__init__(most, next_job)
        self.most, self.next_job = most, next_job

    def __str__(self) -> str:
        return (
            f"run_jobs() has run {self.most} tasks and is not done: job {self.next_job!r} is next. "
            "Does a task enqueue its own job again, or is one tried again without a wait? If there "
            "are really so many, call run_jobs(max_jobs=…)."
        )


class WaitTimeout(DBQError, TimeoutError):
    """A job that somebody waits for has not ended in the given time. It goes on.

    `unserved_queue` is its queue, if no live worker serves that.
    """

    unserved_queue: str | None = None

    def __init__(self, job_id: object, name: str, state: str, seconds: float) -> None:
        super().__init__()
        self.args = (job_id, name, state, seconds)
        self.job_id, self.name, self.state, self.seconds = job_id, name, state, seconds

    def __str__(self) -> str:
        queue = self.unserved_queue
        why = "" if queue is None else f" No live worker serves the queue {queue!r}."
        return (
            f"Job {self.name!r} ({self.job_id}) is still {self.state} after {self.seconds} s.{why}"
        )


class WaitInTransaction(DBQError, RuntimeError):
    """Somebody waits for a job while a transaction is open on its database."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.alias = alias

    def __str__(self) -> str:
        return (
            f"A transaction is open on database {self.alias!r}. What was enqueued in it no worker "
            "sees before it is committed, and what a worker commits it may never see: waiting "
            "for a job could go on for ever. Wait when the transaction is over."
        )


class WorkerDied(DBQError):
    """The story of an attempt whose worker process died; kept as an `Attempt`, never raised."""


class PoisonJob(DBQError):
    """A job whose workers died, again and again; its failure hook gets this, in a living worker."""

    def __init__(self, crashes: int, workers: Collection[str]) -> None:
        super().__init__(crashes, workers)
        self.crashes, self.workers = crashes, tuple(workers)

    def __str__(self) -> str:
        names = ", ".join(self.workers) or "their names are not known"
        return (
            f"{self.crashes} workers died while they ran this task: {names}. It is not tried "
            "again. Find out what kills them (memory? a crash in a C library?), then "
            "queue.rerun(job)."
        )


# What a task raises to say how its job goes on. What makes no sense is refused where it is raised,
# so that the story of the attempt points at that line of the task.


def _text(error: DBQError, reason: object) -> str:
    if isinstance(reason, str):
        return reason
    hint = " For a wait write after=…." if isinstance(error, Retry) else ""
    raise TypeError(f"The reason of {type(error).__name__} must be text, not {reason!r}.{hint}")


def _duration(error: DBQError, value: object) -> timedelta:
    try:
        return as_wait(value)
    except ValueError as refusal:
        raise ValueError(
            f"{type(error).__name__} takes a timedelta or seconds: {refusal}."
        ) from None


def _moment(error: DBQError, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(error).__name__} takes a datetime as until=…, not {value!r}.")
    if settings.USE_TZ and value.utcoffset() is None:
        raise ValueError(f"{type(error).__name__} takes an aware datetime; {value!r} is naive.")
    if not is_storable(value):
        raise ValueError(
            f"{type(error).__name__} takes a datetime of a year from {FIRST_YEAR} to {LAST_YEAR}, "
            f"not {value!r}."
        )
    return value


class Retry(DBQError):
    """Raised by a task: this attempt failed, try it again.

    After `after` (a timedelta or seconds), or else when the job's `retry` says. It counts against
    `max_attempts`, if the job declares that; otherwise the task itself must know when to give up.
    """

    def __init__(self, reason: str = "", *, after: Duration | None = None) -> None:
        super().__init__(reason)
        self.reason = _text(self, reason)
        self.after = None if after is None else _duration(self, after)

    def __str__(self) -> str:
        return self.reason or "The task asked for another attempt."


class Snooze(DBQError):
    """Raised by a task: not now, ask again later. This is no failure and costs no attempt.

    Give either `for_` (a timedelta or seconds) or `until` (a datetime; aware, if USE_TZ is on).
    What the task has put into the workspace is kept.
    """

    def __init__(self, for_: Duration | None = None, until: datetime | None = None) -> None:
        if (for_ is None) == (until is None):
            raise TypeError("Snooze takes either a duration or until=…")
        super().__init__(for_, until)
        self.for_ = None if for_ is None else _duration(self, for_)
        self.until = None if until is None else _moment(self, until)

    def __str__(self) -> str:
        return f"until {self.until}" if self.until else f"for {self.for_}"


class Cancel(DBQError):
    """Raised by a task: the job is called off. It becomes CANCELLED, and no hook is told."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = _text(self, reason)

    def __str__(self) -> str:
        return self.reason or "The task called its job off."


class Fail(DBQError):
    """Raised by a task: it failed, and trying again would not help. The job is FAILED at once."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = _text(self, reason)

    def __str__(self) -> str:
        return self.reason or "The task gave up."


# What is raised inside a running task


class JobInterruption(BaseException):
    """The base of what a worker raises inside a running task, to end it.

    Like KeyboardInterrupt and asyncio.CancelledError no `Exception`, so that an `except Exception:`
    that keeps a loop going does not swallow it. Clean up in `finally`, and let it pass.
    """

    message = ""

    def __str__(self) -> str:
        return self.message


class JobTimeout(JobInterruption):
    """The task has run for longer than its job's `timeout`. A failed attempt, unless caught."""

    message = "The task ran for longer than its timeout."


class JobCancelled(JobInterruption):
    """Somebody has cancelled the job while its task runs."""

    message = "The job was cancelled while its task ran."


class JobInterrupted(JobInterruption):
    """The worker must exit and its grace time is over. The job goes back; it costs no attempt."""

    message = "The worker had to exit before the task was done."
