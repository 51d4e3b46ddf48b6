"""A process of its own for a run: whatever it does there, the worker and its other jobs go on.

A worker has threads and open connections, so it cannot fork itself. It starts a fork server, which
sets Django up once (`worker/fork_server.py`) and forks a process for each run (`isolated.py`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from uuid import UUID

from django_dbq import clock
from django_dbq import settings as dbq_settings
from django_dbq.exceptions import (
    InvalidDeclaration,
    JobInterrupted,
    JobNotDeclared,
    WorkerDied,
)
from django_dbq.models import Job
from django_dbq.rules.backoff import pause_after
from django_dbq.rules.deaths import are_hooks_deadly, is_poison
from django_dbq.rules.outcomes import Crashed, Failed, Failure, Outcome, Snoozed
from django_dbq.worker import logs
from django_dbq.worker.interrupts import Interrupted, Interruption
from django_dbq.worker.ledger import NEVER, Ledger
from django_dbq.worker.processes import cause_of_death
from django_dbq.worker.runs import Run

logger = logging.getLogger("django_dbq.worker")

START_SECONDS = 60.0  # for Django to be set up, and a process to be forked
LAST_SECONDS = 5.0  # for a process that is done, or killed, to be gone
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0  # after a crash
LATER = timedelta(seconds=10)  # when a job whose process cannot be started is tried again

PROGRAM = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.argv, sys.path = given[:2]; "
    "from django_dbq.worker.fork_server import serve; serve(*given[2:])"
)


def can_isolate() -> bool:
    """Whether this system can fork."""
    return hasattr(os, "fork")


def needs_a_process(job: Job) -> bool:
    """Whether this run gets a process of its own.

    By its declaration, or because a worker died of this job before: then its neighbours are safe,
    and what kills it is known for certain.
    """
    if job.cancel_requested_at or job.killed_at:
        return False  # it is judged, and its task does not run
    if job.crashes:
        # The verdict too: it runs the job's hooks. If these are what kills, none are run any more.
        return not are_hooks_deadly(job.crashes, most=dbq_settings.current().max_crashes)
    try:
        return job.declaration.isolation == "process"
    except (JobNotDeclared, InvalidDeclaration):
        return False


# What worker and process say to each other


@dataclass(frozen=True)
class Assignment:
    """The job for a process; its token says that the worker still has it."""

    using: str
    job_id: UUID
    token: int


class Step(Enum):
    """Where the process is. Then it sends the outcome; the worker, what to raise in the task."""

    ENTERED = auto()  # the task begins
    LEFT = auto()  # it has ended; hooks may follow


@dataclass(frozen=True)
class NotBegun:
    """The process could not even begin."""

    reason: str


class CannotStart(Exception):
    """There is no process for the run; says why."""


class Child:
    """The process of one run, seen from the worker."""

    def __init__(self, channel: Connection, status: Connection, pid: int) -> None:
        self.pid = pid
        self._channel = channel
        self._status = status  # the fork server's, who alone can reap the process

    def send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it is dead, as `receive` will tell
            self._channel.send(message)

    def receive(self) -> object:
        """What it says next; None when it will never say anything any more."""
        # Not its channel alone: its own children may hold that open when it is dead.
        wait([self._channel, self._status])
        try:
            return self._channel.recv() if self._channel.poll() else None
        except Exception:  # torn off in the middle
            return None

    def kill(self) -> None:
        """End it; the fork server ends what it has started."""
        with contextlib.suppress(OSError):
            if not self._status.poll():  # else it is gone, and its id may be another's
                os.kill(self.pid, signal.SIGKILL)

    def close(self, *, patience_seconds: float = 0.0) -> int | None:
        """Wait so long for its end, then kill it; its exit code, if that is to be learnt."""
        try:
            if not self._status.poll(patience_seconds):
                self.kill()
            return self._status.recv() if self._status.poll(LAST_SECONDS) else None
        except (EOFError, OSError):  # the fork server is dead, and its processes with it
            return None
        finally:
            self._channel.close()
            self._status.close()


class ForkServer:
    """Starts processes for runs; is itself started for the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self, assignment: Assignment) -> Child:
        """A process that works on this; raises CannotStart."""
        channel, childs_end = Pipe()
        status, servers_end = Pipe(duplex=False)
        try:
            with childs_end, servers_end:
                self._ask_for_process(childs_end.fileno(), servers_end.fileno())
            channel.send(assignment)
            if not status.poll(START_SECONDS):
                self.close()
                raise CannotStart(f"the fork server has said nothing for {START_SECONDS:.0f} s")
            return Child(channel, status, pid=status.recv())
        except (EOFError, OSError) as error:
            channel.close()
            status.close()
            raise CannotStart(f"the fork server has ended or cannot fork ({error!r})") from error

    def close(self) -> None:
        """End the fork server, and any process of its that is left."""
        with self._lock:
            self._close()

    def _ask_for_process(self, *descriptors: int) -> None:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._close()
                self._launch()
            assert self._socket is not None  # noqa: S101 (for the type checker)
            socket.send_fds(self._socket, [b"."], descriptors)

    def _launch(self) -> None:
        if not os.environ.get("DJANGO_SETTINGS_MODULE"):
            raise OSError("DJANGO_SETTINGS_MODULE is not set, so it cannot set Django up")
        ours, theirs = socket.socketpair()
        given = [sys.argv, sys.path, theirs.fileno(), os.getpid(), logs.are_shown()]
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (ourselves)
                [sys.executable, *flags, "-c", PROGRAM, json.dumps(given)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._socket = ours

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()  # by which it knows
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(LAST_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class ProcessRun(Run):
    """A run in a process of its own, on behalf of a thread that waits for it."""

    def __init__(self, job: Job, fork_server: ForkServer, ledger: Ledger, slot: int) -> None:
        super().__init__(job)
        self._fork_server = fork_server
        self._ledger, self._slot = ledger, slot
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._interrupted_by: Interruption | None = None
        self._step: Step | None = None
        self._is_killed = False

    def interrupt(self, why: Interruption, *, grace_seconds: float) -> None:
        with self._lock:
            self.timeout_at = NEVER
            if self._step is Step.LEFT:
                return
            self.kill_at = min(self.kill_at, clock.monotonic() + grace_seconds)
            if self._interrupted_by is None:
                self._interrupted_by = why
                if self._child is not None:
                    self._child.send(why)

    def kill(self) -> None:
        with self._lock:
            self.kill_at = NEVER
            if self._step is not Step.LEFT:
                self._is_killed = True
                if self._child is not None:
                    self._child.kill()

    def perform(self, perform: Callable[..., Outcome]) -> Outcome:
        """`perform` is for what is decided here: what becomes of a job whose process we killed."""
        self._ledger.start(self._slot, self.job.pk, elsewhere=True)
        try:
            return self._perform(perform)
        finally:
            self._ledger.end(self._slot)

    def _perform(self, perform: Callable[..., Outcome]) -> Outcome:
        job = self.job
        if self._interrupted_by is not None:
            return self._end(perform)
        try:
            child = self._fork_server.start(Assignment(job._state.db or "", job.pk, job.token))
        except CannotStart as error:
            return self._postponed(str(error))
        said, exit_code = self._follow(child)
        if isinstance(said, Outcome):
            return said
        if self._is_killed:
            return self._end(perform)
        if isinstance(said, NotBegun):
            return self._postponed(said.reason)
        if self._step is None and not self._is_verdict:
            return self._postponed(f"it ended at once, {cause_of_death(exit_code)}")
        return self._crashed(
            f"The task's own process, {child.pid}, died: {cause_of_death(exit_code)}."
        )

    @property
    def _is_verdict(self) -> bool:
        """Whether the task does not run, and only the hooks of a job that is given up do."""
        return is_poison(self.job.crashes, most=dbq_settings.current().max_crashes)

    def _follow(self, child: Child) -> tuple[object, int | None]:
        """What the process says in the end, None if it died before, and its exit code."""
        with self._lock:
            self._child = child
            if self._interrupted_by is not None:
                child.send(self._interrupted_by)
            if self._is_killed:
                child.kill()
        said: object = None
        try:
            said = child.receive()
            while isinstance(said, Step):
                self._note(said)
                said = child.receive()
        finally:
            with self._lock:
                self._child = None  # nobody may kill it any more
            exit_code = child.close(patience_seconds=0.0 if said is None else LAST_SECONDS)
        return said, exit_code

    def _note(self, step: Step) -> None:
        with self._lock:
            self._step = step
            if step is Step.LEFT:  # the hooks that run after a task may take their time
                self.timeout_at = self.kill_at = NEVER
            elif self.timeout_seconds is not None and self._interrupted_by is None:
                self.timeout_at = clock.monotonic() + self.timeout_seconds

    # What becomes of a job whose process did not say

    def _postponed(self, reason: str) -> Outcome:
        logger.error(
            "Job id=%s goes back for %.0f s: a process of its own cannot be had: %s.",
            self.job.pk,
            LATER.total_seconds(),
            reason,
        )
        return Snoozed(attempts=self.job.attempts - 1, after=LATER)

    def _end(self, perform: Callable[..., Outcome]) -> Outcome:
        """As if the task had let the interruption pass; its story began when its process did."""
        self._ledger.start(self._slot, self.job.pk)  # hooks may run here
        self.job.cancel_requested_at = None  # it is about to be told: it had begun
        why = self._interrupted_by or JobInterrupted
        outcome = perform(self.job, interruptible=Interrupted(why))
        if isinstance(outcome, Failed) and outcome.story is not None:
            started_at = outcome.story.finished_at - self._age
            return replace(outcome, story=replace(outcome.story, started_at=started_at))
        return outcome

    def _crashed(self, message: str) -> Outcome:
        job = self.job
        logger.error("Job id=%s: %s", job.pk, message)
        finished_at = clock.aware_now()
        story = Failure.of(
            WorkerDied(message),
            task=job.next_task,
            number=job.attempts,
            started_at=finished_at - self._age,
            finished_at=finished_at,
        )
        crashes = job.crashes + 1
        pause = pause_after(crashes, first=FIRST_PAUSE_SECONDS, longest=LONGEST_PAUSE_SECONDS)
        return Crashed(
            story=story,
            attempts=job.attempts - 1,
            crashes=crashes,
            after=timedelta(seconds=pause),
        )

    @property
    def _age(self) -> timedelta:
        return timedelta(seconds=clock.monotonic() - self.started_at)
