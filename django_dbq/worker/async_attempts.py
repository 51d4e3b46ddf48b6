"""An attempt at an async task, on the event loop of the worker."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import TypeVar

from django_dbq.rules.outcomes import Outcome
from django_dbq.worker.attempts import TaskAttempt
from django_dbq.worker.connections import (
    close_broken_connections,
    roll_back_all_but,
    seem_in_transaction,
)
from django_dbq.worker.logs import log
from django_dbq.worker.shared_thread import has_calls_of, in_thread, shared_connections

T = TypeVar("T")


class AsyncAttempt(TaskAttempt):
    """Only the task itself must run on the event loop. What comes before and after it may use the
    database, or be a hook that takes long: then it has a thread. It has none where there is nothing
    of that, as at most successes, because a way there and back costs more than a short task.
    """

    async def run_async(self) -> Outcome:
        """Never raises; see `worker/executor.py`."""
        try:
            with self.interruptible:
                await self._run_task_async()
            # Behind the block, because it may have to wait for a slow call of another task.
            if seem_in_transaction(shared_connections.get()):
                # If so between two calls, somebody has left it open: whatever all tasks write from
                # then on would be lost. What this one has written is, perhaps.
                await in_thread(roll_back_all_but, frozenset())
            self._move_on()
        except BaseException as error:  # an event loop never dies of a job
            return await in_thread(self._after_error_and_tidied, error)
        return await self._off_the_loop(self._after_success_and_notify)

    async def _run_task_async(self) -> None:
        try:
            await self._off_the_loop(self._begin)
            try:
                returned = self.call()
                if inspect.isawaitable(returned):
                    returned = await returned
            finally:
                self._end_if_forked()
            self.returned = self.call.result_of(returned)
        except BaseException:
            # What it has asked of that thread and cannot be called back any more: until that has
            # ended, it is the task that takes its time, for which its process may be killed.
            await asyncio.sleep(0)  # for what can be called back
            if has_calls_of(self.interruptible):
                await in_thread(_pass)
            raise

    async def _off_the_loop(self, step: Callable[[], T]) -> T:
        return await in_thread(step) if self._may_block else step()

    @property
    def _may_block(self) -> bool:
        hooks = self.declaration.pre_task_hook or self.declaration.post_task_hook
        has_another_name = self.job.name != self.declaration.name  # and with it, other hooks
        return bool(hooks or has_another_name or self.call.may_block)

    def _after_success_and_notify(self) -> Outcome:
        return self.notify_of_success(self._after_success())

    def _after_error_and_tidied(self, error: BaseException) -> Outcome:
        try:
            roll_back_all_but(frozenset(), quietly=True)
            close_broken_connections()  # one of them may be why the task has failed
        except BaseException as another:  # drivers raise errors that are not Django's
            log(logging.ERROR, "Job id=%s: not tidied up.", self.pk, exc_info=another)
        return self.after_error(error)


def _pass() -> None:
    """Come after what is under way."""
