"""One attempt at a task, from the hook before it to the hook after it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
from collections.abc import Callable, Coroutine, Mapping, Set
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.db import router

from django_dbq import clock
from django_dbq import settings as dbq_settings
from django_dbq.exceptions import (
    Cancel,
    Fail,
    InvalidDeclaration,
    JobCancelled,
    JobInterrupted,
    JobInterruption,
    JobNotDeclared,
    JobTimeout,
    PoisonJob,
    Snooze,
    TransactionLeftOpen,
    WorkerDied,
)
from django_dbq.models import Attempt, Job
from django_dbq.models.workspace import as_storable_json
from django_dbq.rules.callables import function_at
from django_dbq.rules.deaths import are_hooks_deadly, is_poison
from django_dbq.rules.declarations import JobDeclaration
from django_dbq.rules.outcomes import (
    SUCCESS,
    Advanced,
    CalledOff,
    Completed,
    Failed,
    Failure,
    HandedBack,
    Outcome,
    Requeued,
    Retried,
    Snoozed,
    message_of,
    path_of,
)
from django_dbq.rules.retry import delay_before_retry
from django_dbq.rules.states import FINAL, State
from django_dbq.worker.calls import call_of
from django_dbq.worker.connections import discard_all_but, roll_back_all_but
from django_dbq.worker.logs import log
from django_dbq.worker.savepoints import Savepoints
from django_dbq.worker.snapshot import Snapshot


class TaskAttempt:
    """Runs pre hook, task, failure hook and post hook, in 3.3's order; says what became of it."""

    def __init__(
        self,
        job: Job,
        declaration: JobDeclaration,
        already_open: Set[str],
        interruptible: AbstractContextManager[Any] | None,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.job = job
        self.declaration = declaration
        self.pk = job.pk
        self.pid = os.getpid()
        self.started_monotonic = clock.monotonic()
        self.already_open = already_open
        self.is_interruptible = interruptible is not None
        self.interruptible = interruptible or nullcontext()
        self.failed = failed
        self.savepoints = Savepoints(already_open) if already_open else nullcontext()
        self.using = job._state.db or router.db_for_write(Job)
        self.before = Snapshot(job)
        self.call = call_of(job, declaration)
        self.returned: Any = None

    def run(self) -> Outcome:
        """Never raises; see `worker/executor.py`."""
        try:
            self._judge()
            self._run_task()
        except BaseException as error:  # a worker never dies of a job
            return self.after_error(error)
        return self._after_success()

    def _judge(self) -> None:
        """Raise what earlier attempts have earned, in a worker that lived to tell it."""
        job = self.job
        if job.crashes and is_poison(job.crashes, most=dbq_settings.current().max_crashes):
            raise PoisonJob(job.crashes, _workers_that_died(job))
        if job.killed_at:
            raise JobTimeout

    def _run_task(self) -> None:
        try:
            with self.savepoints, self.interruptible:
                self._begin()
                try:
                    returned = self.call()
                    if returned is not None and inspect.iscoroutine(returned):
                        returned = self._wait_for(returned)
                finally:
                    self._end_if_forked()
                if returned is not None:
                    self.returned = self.call.result_of(returned)
        except BaseException as error:
            if isinstance(error, JobInterruption) or isinstance(error.__context__, JobInterruption):
                discard_all_but(self.already_open)  # it may have struck in the middle of a query
            raise
        finally:
            roll_back_all_but(self.already_open)
        self._move_on()

    def _begin(self) -> None:
        hook = self.declaration.pre_task_hook
        if hook:
            self._call_once(function_at(hook), self.job)
        self.call.begin()

    def _call_once(self, function: Callable[..., None], *args: object) -> None:
        try:
            function(*args)
        finally:
            self._end_if_forked()

    def _end_if_forked(self) -> None:
        """End this process if the function that has come back was called in another one.

        It has forked, and comes back there, too: that one speaks for the job, on the connections
        that both have. So at once, before anything is rolled back, committed or told.
        """
        if os.getpid() != self.pid:
            os._exit(0)

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What an async task returns that runs outside of the event loop of a worker."""
        if self.is_interruptible:  # then asyncio passes the interruption on, as a cancellation
            return asyncio.run(self._await_all_of(coroutine))
        # Else what the task asks the database is asked on this thread, in whose transaction a test
        # may be.
        return async_to_sync(self._await)(coroutine)

    async def _await_all_of(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """And roll back what it has left open on the thread on which its queries are made."""
        try:
            return await self._await(coroutine)
        finally:
            await sync_to_async(roll_back_all_but)(self.already_open)

    async def _await(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await coroutine
        finally:  # here: what asyncio ends of a loop, it would end of both processes'
            self._end_if_forked()

    def _move_on(self) -> None:
        """As `Job.update_next_task` does, from where the task has left the job."""
        job = self.job
        self.call.keep_metadata()
        self.before.require_storable()
        declaration = self.declaration if job.name == self.declaration.name else job.declaration
        job.next_task, job.task_index = declaration.following(job.next_task, job.task_index)

    # What became of it

    def _after_success(self) -> Outcome:
        job = self.job
        job.state = State.READY if job.next_task else State.COMPLETE
        self._run_hooks_after()
        changes = self.before.changes()
        if job.state in (State.READY, State.NEW):
            return Advanced(changes, next_task=job.next_task, task_index=job.task_index)
        if job.state == State.COMPLETE:
            changes |= self._kept()
            return Completed(changes) if changes else SUCCESS
        return Failed(changes)

    def _kept(self) -> dict[str, Any]:
        """What the task has returned, if JSON can express it and databases store it."""
        if self.returned is None:
            return {}
        try:
            as_storable_json(self.returned)
        except (TypeError, ValueError, RecursionError) as error:
            log(logging.DEBUG, "Job id=%s: its result is not kept: %s", self.pk, error)
            return {}
        return {"result": self.returned}

    def after_error(self, error: BaseException) -> Outcome:
        """What becomes of the job when the attempt fails, or cannot even begin."""
        if isinstance(error, TransactionLeftOpen) and error.__context__ is not None:
            error = error.__context__  # what the task raised tells more than what it left behind
        finished_at = clock.aware_now()
        started_at = finished_at - timedelta(seconds=clock.monotonic() - self.started_monotonic)
        self.job.pk = self.pk
        self.job.next_task, self.job.task_index = self.before.place
        if isinstance(error, (JobInterrupted, JobCancelled, Cancel, Snooze)):
            return self._after_no_failure(error)
        if self.failed is not None:
            self.failed(error)
        delay = self._delay_before_retry(error)
        if delay is not None and self._is_called_off():  # so that no other attempt follows
            self._log_failure(error)
            self._run_hooks_after()
            changes = self._changes_after_error()
            told = self._story(error, started_at, finished_at)
            return self._notify_if_over(CalledOff(changes, story=told))
        self.job.state = State.FAILED if delay is None else State.READY
        self._log_failure(error, delay)
        if delay is not None:
            self.before.restore()  # for the next attempt; a retry hook may change that
        self._run_hooks_after(error, delay)
        changes = {**self._changes_after_error(), **self.before.moved()}
        story = None
        if self.job.killed_at:
            changes["killed_at"] = None  # that story was told when its worker died
        else:
            story = self._story(error, started_at, finished_at)
        return self._notify_if_over(self._outcome_of_failure(changes, delay, story))

    def _notify_if_over(self, outcome: Outcome) -> Outcome:
        """Tell who wants to know that the job is over, if it is."""
        if outcome.state in FINAL:
            self._notify(self.call.failed, outcome.story)
        return outcome

    def notify_of_success(self, outcome: Outcome) -> Outcome:
        """The same after the task has returned."""
        if isinstance(outcome, Completed):
            self._notify(self.call.succeeded, self.returned)
        return outcome

    def _notify(self, notify: Callable[..., None], about: Any) -> None:
        """What goes wrong in that is logged, and changes no outcome."""
        try:
            self._call_once(notify, about)
        except BaseException:
            log(logging.ERROR, "Job id=%s: nobody was told of its end.", self.pk, exc_info=True)

    def _outcome_of_failure(
        self, changes: dict[str, Any], delay: timedelta | None, story: Failure | None
    ) -> Outcome:
        """From the state in which the hooks left the job: 3.3 saved that one."""
        if self.job.state in (State.READY, State.NEW):
            if delay is None:
                return Requeued({**changes, "crashes": 0}, story=story)
            return Retried(changes, story=story, after=delay)
        if self.job.state == State.COMPLETE:
            return Completed(changes)
        return Failed(changes, story=story)

    def _after_no_failure(self, error: BaseException) -> Outcome:
        """The task ended early, and that is no failure of its."""
        self._run_hooks_after()
        if isinstance(error, JobInterrupted):
            return HandedBack(is_started=True)
        changes = self._changes_after_error()
        if isinstance(error, Cancel):
            return self._notify_if_over(CalledOff({**changes, "cancel_reason": str(error)}))
        if isinstance(error, Snooze) and not self._is_called_off():
            attempts = self.job.attempts - 1
            return Snoozed(changes, attempts=attempts, after=error.for_, until=error.until)
        return self._notify_if_over(CalledOff(changes))

    def _changes_after_error(self) -> dict[str, Any]:
        """What is to be saved all the same."""
        try:
            self.call.keep_metadata()
        except Exception as error:  # the last good one stays
            log(logging.ERROR, "Job id=%s: its metadata was not saved. %s", self.pk, error)
        return self.before.changes()

    def _is_called_off(self) -> bool:
        """Whether somebody cancelled the job meanwhile, who need not wait until it is due again."""
        # Not Django's errors alone: mysqlclient may fail to close a cursor.
        with contextlib.suppress(Exception):
            self.job.look_for_cancel()
        return self.job.cancel_requested_at is not None

    def _delay_before_retry(self, error: BaseException) -> timedelta | None:
        if isinstance(error, (Fail, PoisonJob)):
            return None
        try:
            policy, attempt = self.declaration.retry, self.job.attempts
            return delay_before_retry(policy, lambda: self.call.subject, error, attempt)
        except BaseException:
            log(logging.ERROR, "Job id=%s: its `retry` raised.", self.pk, exc_info=True)
            return None

    def _log_failure(self, error: BaseException, delay: timedelta | None = None) -> None:
        wait = "" if delay is None else f"; next try in {delay.total_seconds():.1f} s"
        log(
            logging.ERROR if delay is None else logging.WARNING,
            'Job failed: name="%s" id=%s queue="%s" task=%s attempt=%d: %s: %s%s',
            self.job.name,
            self.job.pk,
            self.job.queue_name,
            self.job.next_task,
            self.job.attempts,
            type(error).__name__,
            message_of(error),
            wait,
            exc_info=error,
        )

    def _run_hooks_after(
        self, failed: BaseException | None = None, delay: timedelta | None = None
    ) -> None:
        self.job.pk = self.pk  # a task that deletes its own job takes the instance's id away
        hooks, crashes = self._hooks, self.job.crashes
        if not hooks:
            return
        if crashes and are_hooks_deadly(crashes, most=dbq_settings.current().max_crashes):
            return
        if failed is not None:
            if delay is None and "failure_hook" in hooks:
                self._run_guarded(self.job.run_failure_hook, failed)
            if delay is not None and "retry_hook" in hooks:
                self._run_guarded(self.job.run_retry_hook, failed)
        if "post_task_hook" in hooks:
            self._run_guarded(self.job.run_post_task_hook)
        self.job.pk = self.pk

    @property
    def _hooks(self) -> Mapping[str, str]:
        if self.job.name == self.declaration.name:
            return self.declaration.hooks
        try:
            return self.job.declaration.hooks  # the task has given the job another name
        except (JobNotDeclared, InvalidDeclaration):
            return {}

    def _run_guarded(self, hook: Callable[..., None], *args: object) -> None:
        """Hooks that run after the task: one that raises is logged and changes no outcome."""
        try:
            try:
                with self._savepoint():
                    self._call_once(hook, *args)
            finally:
                roll_back_all_but(self.already_open)
        except BaseException:
            log(logging.ERROR, "Job id=%s: %s raised.", self.job.pk, hook.__name__, exc_info=True)

    def _savepoint(self) -> AbstractContextManager[Any]:
        """What keeps a hook's database errors from breaking a transaction around the task."""
        return self.savepoints

    def _story(self, error: BaseException, started_at: datetime, finished_at: datetime) -> Failure:
        return Failure.of(
            error,
            task=self.before.place[0],
            number=self.job.attempts,
            started_at=started_at,
            finished_at=finished_at,
        )


def _workers_that_died(job: Job) -> list[str]:
    deaths = Attempt.objects.using(job._state.db).filter(
        job_id=job.pk, exception=path_of(WorkerDied), task=job.next_task
    )
    latest = deaths.order_by("-pk").values_list("worker", flat=True)[: job.crashes]
    return list(dict.fromkeys(reversed(latest)))
