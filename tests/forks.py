"""A task that ends what it has forked by signals, in a thread or in a process of its own."""

from __future__ import annotations

import os
import signal
import time

PATIENCE_SECONDS = 60


def end_forks_by_signals(job):
    """As a pool of processes does with its own, and `Process.terminate`."""
    numbers = [signal.SIGTERM, signal.SIGQUIT]
    job.workspace["ends"] = [end_of_fork_after(number) for number in numbers]


def end_of_fork_after(number):
    pid = os.fork()
    if not pid:
        time.sleep(PATIENCE_SECONDS)
        os._exit(0)
    os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
