"""Whether a failed attempt is followed by another one, and when."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Union

from django_dbq.durations import as_wait
from django_dbq.exceptions import Retry
from django_dbq.rules.backoff import pause_after
from django_dbq.rules.callables import class_at, function_at

ErrorClass = Union[str, type[BaseException]]  # a class, or its dotted path


@dataclass(frozen=True)
class RetryPolicy:
    """A job's `retry`. The default of each key stands here."""

    max_attempts: int | None = 5
    """Tries at one task, the first included; None for any number."""

    backoff: timedelta = timedelta(seconds=10)
    """The ceiling of the first wait; it doubles with each further one."""

    max_backoff: timedelta = timedelta(hours=1)
    """No wait is longer."""

    jitter: bool = True
    """Wait a random part of the ceiling ("full jitter"), so that what failed together does not
    come back together."""

    delays: tuple[timedelta, ...] = ()
    """Waits one by one, in place of a back-off; the last one repeats."""

    on: tuple[ErrorClass, ...] = (BaseException,)
    """Only these errors are retried, and their subclasses."""

    never: tuple[ErrorClass, ...] = ()
    """These are not, whatever `on` says."""

    decide: str | Callable[..., Any] | None = None
    """A function `decide(job, exception, attempt)`, or its dotted path. It returns the wait (a
    timedelta or seconds), True for the wait that the other keys say, or False or None for no
    retry."""

    def delay(self, attempt: int) -> timedelta:
        """How long to wait after that attempt, the first being 1."""
        if self.delays:
            return self.delays[min(attempt, len(self.delays)) - 1]
        ceiling = timedelta(
            seconds=pause_after(
                attempt,
                first=self.backoff.total_seconds(),
                longest=self.max_backoff.total_seconds(),
            )
        )
        return ceiling * random.random() if self.jitter else ceiling  # noqa: S311 (no secret)

    def covers(self, error: BaseException) -> bool:
        """Whether this kind of error is retried."""
        return _is_one_of(error, self.on) and not _is_one_of(error, self.never)


def delay_before_retry(
    policy: RetryPolicy | None, subject: Callable[[], Any], error: BaseException, attempt: int
) -> timedelta | None:
    """How long the job waits for another attempt after this error; None when there is none.

    `subject` returns what the policy's own function gets: the job, or a Django task's result, which
    may be dear. `attempt` is the number of the one that failed. Raises what these functions raise.
    """
    asked = isinstance(error, Retry)
    if policy is None:
        if not asked:
            return None
        policy = RetryPolicy(max_attempts=None)
    if policy.max_attempts is not None and attempt >= policy.max_attempts:
        return None
    if isinstance(error, Retry):
        return policy.delay(attempt) if error.after is None else error.after
    if not policy.covers(error):
        return None
    if policy.decide is None:
        return policy.delay(attempt)
    decide = function_at(policy.decide) if isinstance(policy.decide, str) else policy.decide
    answer = decide(subject(), error, attempt)
    if answer is None or answer is False:
        return None
    return policy.delay(attempt) if answer is True else as_wait(answer)


def _is_one_of(error: BaseException, classes: tuple[ErrorClass, ...]) -> bool:
    return any(
        isinstance(error, class_at(known) if isinstance(known, str) else known) for known in classes
    )
