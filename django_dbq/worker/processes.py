"""What is asked of the operating system about processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def can_fork() -> bool:
    """Whether this system has what a supervisor and isolated tasks need; Windows has not."""
    return hasattr(os, "fork")


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies, whatever it is doing then.

    The parent is, more exactly, the thread that forked us. Only Linux can do it; elsewhere a child
    must find out by itself, which it cannot while a task holds the GIL.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:  # it has died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def cause_of_death(exit_code: int | None) -> str:
    """An exit code in words; negative is the signal that killed the process."""
    if exit_code is None:
        return "nobody knows how"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):  # a real-time signal has no name
        return f"killed by signal {signal.Signals(-exit_code).name}"
    return f"killed by signal {-exit_code}"
