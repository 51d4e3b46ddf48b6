"""Every error that django_dbq raises, in one tree.

Each message says what was found, what was expected and what to do. The facts are attributes, so
that nobody has to parse text.
"""

from __future__ import annotations

from collections.abc import Collection


class DBQError(Exception):
    """The base of all errors of this package; never raised itself."""


class JobNotDeclared(DBQError, KeyError):  # KeyError: what 3.x raised here
    """A job was created or claimed whose name `settings.JOBS` does not have."""

    def __init__(self, name: str, declared: Collection[str] = ()) -> None:
        super().__init__(name, declared)
        self.name, self.declared = name, tuple(declared)

    def __str__(self) -> str:
        known = ", ".join(sorted(self.declared)) or "nothing"
        return f"settings.JOBS declares no job named {self.name!r}. It declares: {known}."


class InvalidDeclaration(DBQError, ValueError):
    """`settings.JOBS` does not have the shape that it should have."""

    def __init__(self, found: str, hint: str) -> None:
        super().__init__(found, hint)
        self.found, self.hint = found, hint

    def __str__(self) -> str:
        return f"{self.found} {self.hint}"


class UnknownJobOption(InvalidDeclaration):
    """A job of `settings.JOBS` has a key that means nothing here."""


class TaskNotDeclared(DBQError, ValueError):  # ValueError: what 3.x raised here
    """A job's next task does not stand in its list of `settings.JOBS`."""

    def __init__(self, job_name: str, task: str, tasks: Collection[str]) -> None:
        super().__init__(job_name, task, tasks)
        self.job_name, self.task, self.tasks = job_name, task, tuple(tasks)

    def __str__(self) -> str:
        return (
            f"Job {self.job_name!r} has {self.task!r} as its next task, but settings.JOBS lists "
            f"{', '.join(self.tasks)}. Declare the task again, or set the job's next_task to one "
            "of these and its state to READY."
        )


class TaskNotFound(DBQError, ImportError):
    """The dotted path of a task or hook does not lead to something that can be called."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return (
            f"{self.path!r} cannot be called: {self.reason}. It should be the dotted path of a "
            "function, as in 'shop.jobs.send_invoice'; mend it in settings.JOBS."
        )


class InvalidJob(DBQError, ValueError):
    """A job cannot be stored as it is; nothing has been written."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field, self.reason = field, reason

    def __str__(self) -> str:
        return f"The job's {self.field} cannot be stored: {self.reason}"


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
        return f"--{self.option} must be {self.expected}, not {self.found}."


class DatabaseNotReady(DBQError):
    """The worker's database cannot be reached, or lacks the tables of this version."""

    def __init__(self, alias: str, reason: str, hint: str) -> None:
        super().__init__(alias, reason, hint)
        self.alias, self.reason, self.hint = alias, reason, hint

    def __str__(self) -> str:
        return f"Database {self.alias!r} is not ready: {self.reason} {self.hint}"
