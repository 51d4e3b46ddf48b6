"""Where tasks run: threads that take claimed jobs in order."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from django.db import connections

from django_dbq import clock
from django_dbq.models import Job
from django_dbq.rules.outcomes import Failed, Failure, Outcome
from django_dbq.rules.prefetch import MeanDuration
from django_dbq.worker.connections import TaskConnections
from django_dbq.worker.executor import Moved
from django_dbq.worker.isolation import ForkServer, needs_a_process
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.logs import log
from django_dbq.worker.process_runs import ProcessRun
from django_dbq.worker.processes import can_fork
from django_dbq.worker.runs import Run, ThreadRun


class ThreadPool:
    """Runs jobs on a number of threads; used as a context, whose end waits for them.

    Those that are not for a thread, as `perform` says, are `moved` and not finished.
    """

    def __init__(
        self,
        *,
        threads: int,
        perform: Callable[..., Outcome],
        finished: Callable[[Job, Outcome], None],
        ledger: Ledger,
        moved: Callable[[Job], None] | None = None,
    ) -> None:
        self.threads = threads
        self.ledger = ledger
        self.pace = MeanDuration()
        self.moved_at = clock.monotonic()  # when a job was last submitted or started
        self._perform = perform
        self._finished = finished
        self._moved = moved
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._runs: dict[int, ProcessRun | ThreadRun] = {}  # by the number of the thread
        self._threads: list[threading.Thread] = []
        self._fork_server = ForkServer()

    def __enter__(self) -> ThreadPool:
        for number in range(self.threads):
            # Daemons: a process that must go does not wait for a task that never ends.
            thread = threading.Thread(
                target=self._work, args=(number,), name=f"dbq-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if exc_info[0] is not None:
            self.take_back()  # nobody is left to write down what becomes of them
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        self._fork_server.close()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Run these jobs, in this order, as threads become free."""
        self.moved_at = clock.monotonic()
        for job in jobs:
            self._queue.put(job)

    @property
    def waiting(self) -> int:
        """How many jobs no thread has started yet."""
        return self._queue.qsize()

    @property
    def runs(self) -> list[Run]:
        """The runs that are under way, for whoever must end them."""
        return list(self._runs.values())

    @property
    def running(self) -> list[Job]:
        """The jobs whose tasks run now."""
        return [run.job for run in self.runs]

    def stuck_threads(self, after_seconds: float) -> int:
        """How many threads have been running the same job for longer than that."""
        started_before = clock.monotonic() - after_seconds
        return sum(run.started_at < started_before for run in self.runs)

    def take_back(self) -> list[Job]:
        """The jobs that no thread has started, which now none will."""
        taken: list[Job] = []
        while True:
            try:
                job = self._queue.get_nowait()
            except Empty:
                return taken
            if job is not None:
                taken.append(job)

    def _work(self, number: int) -> None:
        mine = TaskConnections()
        try:
            for job in iter(self._queue.get, None):
                self.moved_at = started_at = clock.monotonic()
                outcome = self._outcome(job, number, mine)
                # Handed over before it stops counting as running: at no moment is it nowhere.
                if self._moved is not None and isinstance(outcome, Moved):
                    self._moved(job)
                else:
                    self.pace.note(clock.monotonic() - started_at)
                    if outcome.story:
                        mine.refresh_soon()
                    self._finished(job, outcome)
                self._runs.pop(number, None)  # there is none if it could not even be made
        finally:
            connections.close_all()

    def _run_of(self, job: Job, number: int) -> ProcessRun | ThreadRun:
        if needs_a_process(job):
            if can_fork():
                return ProcessRun(job, self._fork_server, self.ledger, number)
            log(logging.WARNING, "Job id=%s runs here: this system cannot fork.", job.pk)
        return ThreadRun(job, self.ledger, number)

    def _outcome(self, job: Job, number: int, mine: TaskConnections) -> Outcome:
        try:
            run = self._runs[number] = self._run_of(job, number)
            mine.refresh()
            return run.perform(self._perform)
        except BaseException as error:
            return outcome_of_our_fault(job, error)


def outcome_of_our_fault(job: Job, error: BaseException) -> Outcome:
    """Of a run that has raised, which none is supposed to do.

    One job pays for it: without its thread, or its slot, the worker would hold all that are in
    flight, and do nothing, for ever.
    """
    with contextlib.suppress(BaseException):  # the log itself may be what is broken
        log(logging.CRITICAL, "Job id=%s: it could not be run.", job.pk, exc_info=error)
    now = clock.aware_now()
    story = Failure.of(
        error, task=job.next_task, number=job.attempts, started_at=now, finished_at=now
    )
    return Failed(story=story)
