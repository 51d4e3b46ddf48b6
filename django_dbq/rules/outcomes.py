"""What an attempt at a task can lead to.

Running a job decides on an outcome, and `worker/acknowledger.py` has it written; but the success of
an atomic task is written with it, by `worker/atomic.py`.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django_dbq.rules.states import TRANSITIONS, State

LONGEST_MESSAGE = 10_000  # characters; the end of a traceback tells more than its beginning
LONGEST_TRACEBACK = 50_000


@dataclass(frozen=True)
class Failure:
    """The story of one failed attempt, as it is kept."""

    task: str
    number: int
    exception: str
    message: str
    traceback: str
    started_at: datetime
    finished_at: datetime

    @classmethod
    def of(
        cls,
        error: BaseException,
        *,
        task: str,
        number: int,
        started_at: datetime,
        finished_at: datetime,
    ) -> Failure:
        """Tell the story of `error`, whatever it is: telling it never raises."""
        return cls(
            task=task,
            number=number,
            exception=path_of(type(error)),
            message=storable(message_of(error))[:LONGEST_MESSAGE],
            traceback=storable(_traceback_of(error))[-LONGEST_TRACEBACK:],
            started_at=started_at,
            finished_at=finished_at,
        )

    def in_ascii(self) -> Failure:
        """The same story for a database that refused it: every other character is escaped."""
        return replace(self, message=ascii(self.message), traceback=ascii(self.traceback))


def path_of(kind: type) -> str:
    """The dotted path of a class, as stories name it."""
    return f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """What `error` says of itself; never raises."""
    try:
        return str(error)
    except BaseException as second:  # a broken __str__ must not cost us the outcome
        return f"(its message cannot be shown: {type(second).__name__})"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException as second:  # a SyntaxError with odd attributes cannot be formatted
        return f"(its traceback cannot be shown: {type(second).__name__})"


def storable(text: str) -> str:
    """`text` without what databases refuse in a text: NUL characters and lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt; `changes` are the row's values that task and hooks changed."""

    transition: ClassVar[str]

    changes: Mapping[str, Any] = field(default_factory=dict)
    is_written: bool = False  # in the task's own transaction: the job is `atomic`
    story: Failure | None = None  # if the attempt failed: what is kept of it

    @property
    def state(self) -> State:
        """The state in which the job ends up."""
        return TRANSITIONS[self.transition].target

    def values(self, now: datetime) -> dict[str, Any]:
        """The columns that this outcome sets, `now` being the database's time."""
        return {"state": self.state, **self.changes}


@dataclass(frozen=True)
class Completed(Outcome):
    """The last task of the list succeeded."""

    transition = "complete"

    def values(self, now: datetime) -> dict[str, Any]:
        return {"next_task": "", "task_index": None, **super().values(now)}


SUCCESS = Completed()
"""Of most jobs: nothing changed but the state. One value for all, so that they are grouped fast."""


@dataclass(frozen=True)
class Advanced(Outcome):
    """A task succeeded, and another one follows, whose tries are counted anew."""

    transition = "advance"

    next_task: str = ""
    task_index: int | None = None

    def values(self, now: datetime) -> dict[str, Any]:
        place = {"next_task": self.next_task, "task_index": self.task_index}
        return {**place, "attempts": 0, "crashes": 0, **super().values(now)}


@dataclass(frozen=True)
class Failed(Outcome):
    """The task, or the hook before it, raised, and no other attempt follows."""

    transition = "fail"


@dataclass(frozen=True)
class Requeued(Outcome):
    """The attempt failed, and a hook set the job back to READY: 3.3's way to try again."""

    transition = "requeue"


@dataclass(frozen=True)
class Retried(Outcome):
    """The attempt failed, and the job's `retry` (or the task itself) has another one follow."""

    transition = "retry"

    after: timedelta = timedelta(0)

    def values(self, now: datetime) -> dict[str, Any]:
        return {"run_after": now + self.after, **super().values(now)}


@dataclass(frozen=True)
class Crashed(Outcome):
    """The task's own process died of it. It goes back: `attempts` is what it was before, and
    `crashes` has grown."""

    transition = "crash"

    attempts: int = 0
    crashes: int = 0
    after: timedelta = timedelta(0)  # what kills it, a lack of memory perhaps, may pass

    def values(self, now: datetime) -> dict[str, Any]:
        counted = {"attempts": self.attempts, "crashes": self.crashes}
        return {"run_after": now + self.after, **counted, **super().values(now)}


@dataclass(frozen=True)
class Snoozed(Outcome):
    """The task asked to be called later. That was no attempt: `attempts` is what it was before."""

    transition = "snooze"

    attempts: int = 0
    after: timedelta | None = None
    until: datetime | None = None  # one of the two

    def values(self, now: datetime) -> dict[str, Any]:
        due = self.until if self.after is None else now + self.after
        return {"run_after": due, "attempts": self.attempts, **super().values(now)}


@dataclass(frozen=True)
class CalledOff(Outcome):
    """The task, or somebody outside, ended the job. There is a story only if it failed as well."""

    transition = "call off"


@dataclass(frozen=True)
class HandedBack(Outcome):
    """No fault of the job: it goes back as it was, and another attempt costs nothing.

    `is_started`: its task had begun, so that the job is not as good as new.
    """

    transition = "hand back"

    is_started: bool = False


@dataclass(frozen=True)
class Declined(HandedBack):
    """This worker's code does not know the job, or, if it is given, the task; another's may."""

    task: str = ""
