"""A process of its own for a run: whatever it does there, the worker and its other jobs go on.

A worker has threads and open connections, so it cannot fork itself. It starts a fork server, which
sets Django up once (`worker/fork_server.py`) and forks a process for each run (`isolated.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from enum import Enum, auto
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from uuid import UUID

from django_dbq import settings as dbq_settings
from django_dbq.exceptions import InvalidDeclaration, JobNotDeclared
from django_dbq.models import Job
from django_dbq.rules.deaths import are_hooks_deadly
from django_dbq.worker import logs

START_SECONDS = 60.0  # for Django to be set up, and a process to be forked
GONE_WITHIN_SECONDS = 5.0  # for a process that is done, or killed, to be gone

PROGRAM = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.argv, sys.path = given[:2]; "
    "from django_dbq.worker.fork_server import serve; serve(*given[2:])"
)


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


class RunProcess:
    """The process of one run, seen from the worker."""

    def __init__(self, channel: Connection, status: Connection, pid: int) -> None:
        self.pid = pid
        self._channel = channel
        self._status = status  # the fork server's, who alone can reap the process

    def send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it is dead, as `receive` will tell
            self._channel.send(message)

    def receive(self) -> object:
        """What it says next; None when it will never say anything any more.

        Raises what reading it raises: that is no sign of its death.
        """
        # Not its channel alone: its own children may hold that open when it is dead.
        wait([self._channel, self._status])
        try:
            said = self._channel.recv_bytes() if self._channel.poll() else None
        except Exception:  # torn off in the middle
            return None
        return None if said is None else pickle.loads(said)  # noqa: S301 (of our own process)

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
            return self._status.recv() if self._status.poll(GONE_WITHIN_SECONDS) else None
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

    def start(self, assignment: Assignment) -> RunProcess:
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
            return RunProcess(channel, status, pid=status.recv())
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
        path = [entry for entry in sys.path if isinstance(entry, str)]  # as Python does
        given = [sys.argv, path, theirs.fileno(), os.getpid(), logs.are_shown()]
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
                self._process.wait(GONE_WITHIN_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
