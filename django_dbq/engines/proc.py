"""Whether another process of this host lives, as Linux tells in /proc."""

from __future__ import annotations

import os
from pathlib import Path

STATE, START_TICKS = 0, 19  # of what follows the name in /proc/[pid]/stat
ENDED = ("Z", "X")


def mark_of_this_process() -> str:
    """A name that no other process has, on any host, at any time; empty where /proc is not."""
    try:
        return f"{_here()} {os.getpid()} {_started(os.getpid())}"
    except (OSError, AttributeError):
        return ""


def has_ended(mark: str) -> bool:
    """Whether the process of this mark has ended; False also for what cannot be told from here:
    a process of another host or container, or of before this host's last start."""
    here, pid, started = mark.rsplit(" ", 2)
    try:
        if here != _here():
            return False
        os.kill(int(pid), 0)
        return _started(int(pid)) != started
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and hidden from this account
        return False


def _here() -> str:
    """This start of this host, and the container: within it a process id means one process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    """When it started, in ticks since the host did; raises ProcessLookupError if it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[STATE] in ENDED:
        raise ProcessLookupError(pid)
    return fields[START_TICKS]
