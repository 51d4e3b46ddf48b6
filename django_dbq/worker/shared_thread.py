"""The thread on which the queries of all async tasks are made, one after the other.

Django has no async connections. All tasks of an event loop share this thread, and so its
connections, on which nobody else is.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

from django_dbq.worker.connections import opened_here
from django_dbq.worker.runs import Run

T = TypeVar("T")

current_run: ContextVar[Run | None] = ContextVar("dbq_run", default=None)
"""On an event loop: the run that the code at hand belongs to."""

shared_connections: ContextVar[list[Any]] = ContextVar("dbq_shared_connections")
"""On an event loop: those of its shared thread."""

_shared_thread: ContextVar[SharedThread] = ContextVar("dbq_shared_thread")


class SharedThread(ThreadPoolExecutor):
    """Knows for which runs it has calls to make, or makes one at the moment."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self.runs: dict[Future[Any], Run | None] = {}  # by what is not over

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future = super().submit(function, *args, **kwargs)
        self.runs[future] = current_run.get()
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[Any]) -> None:
        self.runs.pop(future, None)


async def share_thread(context: ThreadSensitiveContext) -> None:
    """Give the event loop that runs such a thread; it ends with the context."""
    thread = SyncToAsync.context_to_thread_executor[context] = SharedThread()
    _shared_thread.set(thread)
    shared_connections.set(await in_thread(opened_here))


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call it on the shared thread."""
    return await sync_to_async(function, thread_sensitive=True)(*arguments)


def has_calls_of(run: object) -> bool:
    """Whether the shared thread has something to do for this run, even if nobody waits for it."""
    return any(each is run for each in tuple(_shared_thread.get().runs.values()))
