"""Where async tasks run: many at a time, on one event loop, which has a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.db import close_old_connections, connections

from django_dbq import clock
from django_dbq.models import Job
from django_dbq.rules.outcomes import Outcome
from django_dbq.worker.async_runs import AsyncRun
from django_dbq.worker.connections import CHECK_INTERVAL_SECONDS
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.logs import log
from django_dbq.worker.pools import outcome_of_our_fault
from django_dbq.worker.runs import Run
from django_dbq.worker.shared_thread import current_run, in_thread, share_thread

BLOCKED_SECONDS = 1.0  # without a tick: then something keeps the event loop from going on
TICK_SECONDS = 0.25
LAST_SECONDS = 2.0  # for what jobs have started and left running, when the loop ends


class EventLoop:
    """Runs async jobs, as many at a time as it has slots of the ledger. Started by the first one.

    The loop is the thread's; other threads submit jobs, take those back that have not begun, and
    look. All queries of its tasks are made on one other thread, on whose connection nobody else is:
    Django has no async connections.
    """

    def __init__(
        self,
        *,
        slots: Sequence[int],
        perform: Callable[..., Awaitable[Outcome]],
        finished: Callable[[Job, Outcome], None],
        ledger: Ledger,
    ) -> None:
        self.moved_at = clock.monotonic()  # when a job was last submitted or started
        self._ledger = ledger
        self._perform = perform
        self._finished = finished
        self._waiting: deque[Job] = deque()
        self._free_slots = list(slots)
        self._runs: dict[asyncio.Task[Any], AsyncRun] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._context: contextvars.Context | None = None  # in which jobs begin
        self._ticked_at: float | None = None  # None: nothing runs
        self._checked_at = float("-inf")
        self._late_since: float | None = None  # the tick after which none has come for too long
        self._has_warned = False

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run these jobs, in this order, as slots become free.

        Raises RuntimeError, and has none of them, when the loop cannot be started.
        """
        if not jobs:
            return
        with self._lock:
            if self._thread is None:
                self._launch()
        self.moved_at = clock.monotonic()
        self._waiting.extend(jobs)
        self._loop.call_soon_threadsafe(self._start_waiting, context=self._context)

    @property
    def waiting(self) -> int:
        """How many jobs have not begun."""
        return len(self._waiting)

    @property
    def free(self) -> int:
        """How many more could begin now."""
        return max(0, len(self._free_slots) - len(self._waiting))

    @property
    def runs(self) -> list[Run]:
        """The runs that are under way, for whoever must end them."""
        return list(self._runs.copy().values())

    def take_back(self) -> list[Job]:
        """The jobs that have not begun, which now will not."""
        taken: list[Job] = []
        while True:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:
                return taken

    def close(self) -> None:
        """End the loop and its thread; what still runs is cancelled."""
        with self._lock:
            if self._thread is not None:
                self.take_back()  # nobody is left to write down what becomes of them
                self._loop.call_soon_threadsafe(self._over.set)
                self._thread.join()
                self._thread = None

    # Somebody blocks it

    def warn_of_blocking(self) -> None:
        """Log it when a task has kept the others from running for a while; once."""
        ticked_at = self._ticked_at
        if ticked_at is None or clock.monotonic() - ticked_at < BLOCKED_SECONDS + TICK_SECONDS:
            return
        if ticked_at != self._late_since:  # perhaps all of the process stood still: look again
            self._late_since, self._has_warned = ticked_at, False
        elif not self._has_warned:
            self._has_warned = True
            log(
                logging.WARNING,
                "%s blocks the event loop: for more than %.0f s no other async task of this worker "
                "could go on. It is at %s. Await something there, or call it by asyncio.to_thread "
                "or sync_to_async.",
                self._describe_current(),
                BLOCKED_SECONDS,
                self._place(),
            )

    def _describe_current(self) -> str:
        task = asyncio.current_task(self._loop)
        if task is None:
            return "A callback"
        run = self._runs.get(task)
        if run is None and hasattr(task, "get_context"):  # Python 3.12
            run = task.get_context().get(current_run)
        if run is None:
            return f"A task of asyncio's that a job has made, {task.get_name()} ({task!r}),"
        job = run.job
        return f'Async task {job.next_task} of job name="{job.name}" id={job.pk}'

    def _place(self) -> str:
        assert self._thread is not None  # noqa: S101 (for the type checker)
        frame = sys._current_frames().get(self._thread.ident or 0)
        if frame is None:
            return "an unknown place"
        return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"

    # The loop's thread

    def _launch(self) -> None:
        self._loop = asyncio.new_event_loop()
        is_ready = threading.Event()
        # A daemon: a process that must go does not wait for a task that never ends.
        thread = threading.Thread(
            target=self._work, args=(is_ready,), name="dbq-async", daemon=True
        )
        thread.start()
        is_ready.wait()
        if self._context is None:
            raise RuntimeError("The event loop of this worker cannot be started.")
        self._thread = thread

    def _work(self, is_ready: threading.Event) -> None:
        main = self._loop.create_task(self._main(is_ready))
        while not main.done():
            try:
                self._loop.run_until_complete(main)
            except BaseException as error:  # SystemExit, of a task that a job's task has made
                log(logging.ERROR, "%r in the event loop.", error, exc_info=error)
        self._loop.close()
        is_ready.set()  # if it is not

    async def _main(self, is_ready: threading.Event) -> None:
        self._over = asyncio.Event()  # here: Python 3.9 binds it to the loop that runs
        async with ThreadSensitiveContext() as context:
            await share_thread(context)
            self._context = contextvars.copy_context()
            is_ready.set()
            await self._over.wait()
            await self._cancel_all()
            await self._loop.shutdown_asyncgens()
            await in_thread(connections.close_all)

    async def _cancel_all(self) -> None:
        left = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=LAST_SECONDS)

    def _start_waiting(self) -> None:
        while self._free_slots:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            self.moved_at = clock.monotonic()
            self._refresh_connections()
            self._loop.create_task(self._run_job(job, self._free_slots.pop()))
            if self._ticked_at is None:
                self._tick()

    def _tick(self) -> None:
        is_idle = not self._runs and self._ticked_at is not None
        self._ticked_at = None if is_idle else clock.monotonic()
        if not is_idle:
            self._loop.call_later(TICK_SECONDS, self._tick)

    async def _run_job(self, job: Job, slot: int) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (for the type checker)
        try:
            run = self._runs[task] = AsyncRun(job, self._ledger, slot, task)
            current_run.set(run)
            outcome = await run.perform(self._perform)
        except BaseException as error:
            outcome = outcome_of_our_fault(job, error)
        # Handed over before it stops counting as running: at no moment is it nowhere.
        self._finished(job, outcome)
        self._runs.pop(task, None)
        self._free_slots.append(slot)
        self._start_waiting()

    def _refresh_connections(self) -> None:
        """As other threads do now and then, between two jobs; here, when no other job runs.

        Before the first query of the job that begins: what is asked for first is done first.
        """
        now = clock.monotonic()
        if not self._runs and now - self._checked_at >= CHECK_INTERVAL_SECONDS:
            self._checked_at = now
            self._loop.create_task(in_thread(close_old_connections))
