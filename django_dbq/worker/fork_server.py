"""The process that forks processes for runs: started and used by `worker/isolation.py`.

It sets Django up and then runs no code of the project's, so that it is always ready, and small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import traceback
from multiprocessing.connection import Connection, wait
from types import FrameType

import django

from django_dbq.worker import logs
from django_dbq.worker.connections import close_all_connections
from django_dbq.worker.processes import die_with_parent
from django_dbq.worker.shutdown import STOP_SIGNALS, Handler

LOOK_INTERVAL_SECONDS = 1.0  # for a worker that is gone while a process of its holds its socket


def serve(descriptor: int, worker_pid: int, logs_are_shown: bool) -> None:
    """Set Django up; then fork a process for each run that the worker asks for, while it lives."""
    for number in STOP_SIGNALS:  # sent to all of us at once; our worker says when we must go
        signal.signal(number, _do_nothing)
    django.setup()
    if logs_are_shown:
        logs.show_logs()
    close_all_connections()
    from django_dbq.worker import isolated  # noqa: F401 (needs Django; children find it loaded)

    _Server(socket.socket(fileno=descriptor), worker_pid).run()


def _do_nothing(signum: int, frame: FrameType | None) -> None:
    """A handler and not SIG_IGN, which the programs that a task starts would inherit."""


class _Server:
    def __init__(self, asked: socket.socket, worker_pid: int) -> None:
        self._asked = asked
        self._worker_pid = worker_pid
        self._children: dict[int, Connection] = {}  # where to tell that one has ended
        self._bell, self._bell_rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._bell_rope, False)

    def run(self) -> None:
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.set_wakeup_fd(self._bell_rope, warn_on_full_buffer=False)
        is_wanted = True
        while is_wanted and os.getppid() == self._worker_pid:
            ready = wait([self._asked, self._bell], timeout=LOOK_INTERVAL_SECONDS)
            if self._bell in ready:
                os.read(self._bell, 4096)
            self._reap()
            if self._asked in ready:
                is_wanted = self._accept()
        for pid in self._children:
            _kill_group(pid)

    def _accept(self) -> bool:
        """Fork a process for one run; False when the worker is gone."""
        _, descriptors, _, _ = socket.recv_fds(self._asked, 1, 2)
        if len(descriptors) != 2:
            return False
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        channel, status = (Connection(descriptor) for descriptor in descriptors)
        server_pid = os.getpid()
        with channel:
            try:
                pid = os.fork()
            except OSError:
                traceback.print_exc()
                status.close()
                return True
            if not pid:
                self._be_a_child(channel, status, server_pid)
        self._children[pid] = status
        with contextlib.suppress(OSError):
            status.send(pid)
        return True

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, wait_status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            if wait_status:  # it has died, or was told to end
                _kill_group(pid)  # what the task started, and did not end
            with self._children.pop(pid) as status, contextlib.suppress(OSError):
                status.send(os.waitstatus_to_exitcode(wait_status))

    def _be_a_child(self, channel: Connection, status: Connection, server_pid: int) -> None:
        """Never returns."""
        exit_code = 1
        try:
            die_with_parent(server_pid)
            os.setpgid(0, 0)  # so that what the task starts can be ended with it
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in STOP_SIGNALS:  # for the run as before, but not for what it forks
                signal.signal(number, Handler(lambda: None))
            self._asked.close()
            for connection in [status, *self._children.values()]:
                connection.close()
            os.close(self._bell)
            os.close(self._bell_rope)
            from django_dbq.worker.isolated import work

            if not work(channel):
                exit_code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(exit_code)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
