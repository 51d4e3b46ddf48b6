"""Wait until a job has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, overload

from asgiref.sync import sync_to_async
from django.db import connections

from django_dbq import clock
from django_dbq.durations import Duration, as_duration
from django_dbq.engines import engine_for
from django_dbq.engines.awaiting import Waiter
from django_dbq.exceptions import WaitInTransaction, WaitTimeout
from django_dbq.models import Job
from django_dbq.queue.control import AnyResult, JobOrId, alias_of
from django_dbq.queue.django_tasks import is_kept_here
from django_dbq.queue.stats import unserved
from django_dbq.rules.states import FINAL, WAITING
from django_dbq.rules.worlds import is_task_result

SHORTEST_SECONDS, LONGEST_SECONDS = 0.002, 0.25
SHARE = 0.25  # of the time that it has waited: for so long it sleeps before the next look


R = TypeVar("R", bound=AnyResult)


@overload
def wait_for(job: JobOrId, timeout: Duration | None, *, using: str | None = ...) -> Job: ...


@overload
def wait_for(job: R, timeout: Duration | None, *, using: str | None = ...) -> R: ...


def wait_for(job: Any, timeout: Duration | None, *, using: str | None = None) -> Any:
    """Wait until a job is COMPLETE, FAILED or CANCELLED; returns it, read anew.

    `job` is a Job, its id, or the result of a Django task, which is then refreshed and returned.
    `timeout` is a timedelta or seconds; None: for as long as it takes. It blocks this thread; in a
    task that is a thread of the worker, and a task that waits for a job which only this worker can
    run may wait in vain.

    Raises:
        WaitTimeout: (a TimeoutError) the job has not ended by then.
        WaitInTransaction: (a RuntimeError) a transaction is open, in which that cannot be seen.
        Job.DoesNotExist: there is no such job, or it was deleted meanwhile.
        ValidationError (Django's): the text is no id.
        What `get_result` raises: when the result of a Django task is refreshed.
    """
    wait = _wait(job, timeout, using)
    pause = wait.look()
    if pause is None:
        return wait.ended()
    with wait.waiter() as waiter:
        while pause is not None:
            waiter.pause(pause)
            pause = wait.look()
    return wait.ended()


@overload
async def await_for(job: JobOrId, timeout: Duration | None, *, using: str | None = ...) -> Job: ...


@overload
async def await_for(job: R, timeout: Duration | None, *, using: str | None = ...) -> R: ...


async def await_for(job: Any, timeout: Duration | None, *, using: str | None = None) -> Any:
    """`wait_for` from async code, where it blocks no thread while it sleeps."""
    wait = _wait(job, timeout, using)
    while (pause := await sync_to_async(wait.look)()) is not None:
        await asyncio.sleep(pause)
    return await sync_to_async(wait.ended)()


def _wait(job: Any, timeout: Duration | None, using: str | None) -> _Wait:
    alias = alias_of(job, using)
    if is_task_result(job):
        if not is_kept_here(job.task):
            return _WaitElsewhere(job, timeout)
        return _WaitForJob(job.id, timeout, alias, lambda: _refreshed(job))
    if isinstance(job, Job):
        return _WaitForJob(job.pk, timeout, alias, lambda: _reread(job, alias))
    return _WaitForJob(job, timeout, alias, lambda: Job.objects.using(alias).get(pk=job))


def _refreshed(result: Any) -> Any:
    result.refresh()
    return result


def _reread(job: Job, alias: str) -> Job:
    job.refresh_from_db(using=alias)
    return job


class _Wait:
    """Tells when to look again, and when it has been long enough."""

    def __init__(self, timeout: Duration | None) -> None:
        self._began_at = clock.monotonic()
        self._seconds = None if timeout is None else as_duration(timeout).total_seconds()

    def look(self) -> float | None:
        """For how long to sleep before the next look; None: it has ended."""
        raise NotImplementedError

    def waiter(self) -> Waiter:
        raise NotImplementedError

    def ended(self) -> Any:
        """What the caller gets."""
        raise NotImplementedError

    def _pause(self, job_id: object, name: str, state: str) -> float:
        waited = clock.monotonic() - self._began_at
        pause = min(max(waited * SHARE, SHORTEST_SECONDS), LONGEST_SECONDS)
        if self._seconds is None:
            return pause
        if waited >= self._seconds:
            raise WaitTimeout(job_id, name, state, self._seconds)
        return min(pause, self._seconds - waited)


class _WaitForJob(_Wait):
    """By looks at its row."""

    def __init__(
        self, job_id: Any, timeout: Duration | None, alias: str, ended: Callable[[], Any]
    ) -> None:
        super().__init__(timeout)
        self._id, self._alias, self._ended = Job._meta.pk.to_python(job_id), alias, ended

    def look(self) -> float | None:
        is_in_transaction = self._is_in_transaction()
        if is_in_transaction and not self._is_in_a_test:
            raise WaitInTransaction(self._alias)
        jobs = Job.objects.using(self._alias).order_by()
        name, state, queue = jobs.values_list("name", "state", "queue_name").get(pk=self._id)
        if state in FINAL:
            return None
        if is_in_transaction:
            raise WaitInTransaction(self._alias)
        try:
            return self._pause(self._id, name, state)
        except WaitTimeout as error:
            if state in WAITING and unserved([queue], using=self._alias):
                error.unserved_queue = queue
            raise

    def waiter(self) -> Waiter:
        return engine_for(self._alias).waiter(self._id)

    def ended(self) -> Any:
        return self._ended()

    def _is_in_transaction(self) -> bool:
        connection = connections[self._alias]
        return connection.in_atomic_block or not connection.get_autocommit()

    @property
    def _is_in_a_test(self) -> bool:
        """Whether the only transactions are those around a `TestCase`: it may have run the job."""
        blocks = connections[self._alias].atomic_blocks
        return bool(blocks) and all(getattr(block, "_from_testcase", False) for block in blocks)


class _WaitElsewhere(_Wait):
    """For the result of a Django task that another backend has."""

    def __init__(self, result: Any, timeout: Duration | None) -> None:
        super().__init__(timeout)
        self._result = result

    def look(self) -> float | None:
        if not self._result.is_finished:
            self._result.refresh()
        if self._result.is_finished:
            return None
        return self._pause(self._result.id, self._result.task.module_path, str(self._result.status))

    def waiter(self) -> Waiter:
        return Waiter(None, self._result.id)

    def ended(self) -> Any:
        return self._result
