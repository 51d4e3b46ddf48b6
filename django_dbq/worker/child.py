"""One worker process, seen from its supervisor."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from django_dbq import clock
from django_dbq.rules.deaths import Death
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.processes import cause_of_death
from django_dbq.worker.registration import Lease

SAID_DONE = "done"  # what a worker says to its supervisor before it ends by itself
LEAVE = "leave"  # what the supervisor says to it: at once
OVERRAN = "it ran for longer than its timeout, would not end and was killed"


@dataclass
class Child:
    """Its process, what both share, and what became of it."""

    process: Any
    channel: Connection
    lease: Lease
    ledger: Ledger
    started_at: float = field(default_factory=clock.monotonic)
    worker_id: int | None = None
    condemned_at: float | None = None  # taken for dead by others, and told to end
    killed_at: float | None = None  # by us

    @property
    def is_done(self) -> bool:
        """Whether it said, before it ended, that it has done all that was asked for.

        An exit code of 0 does not say so: a task may call `os._exit(0)`.
        """
        try:
            return self.channel.poll() and self.channel.recv() == SAID_DONE
        except (EOFError, OSError):
            return False

    def condemn(self) -> None:
        """Have it end soon: others run its jobs by now, so that what it does is done twice."""
        self.condemned_at = clock.monotonic()
        with contextlib.suppress(OSError):  # it is dead
            self.channel.send(LEAVE)

    def kill(self) -> None:
        """End it at once; saying it again changes nothing."""
        if self.killed_at is None:
            self.killed_at = clock.monotonic()
            self.process.kill()

    def death(self) -> Death:
        """How it ended, when it has."""
        overran = self.ledger.overdue(self.killed_at) if self.killed_at else frozenset()
        return Death(
            worker=f"{socket.gethostname()}:{self.process.pid}",
            cause=OVERRAN if overran else cause_of_death(self.process.exitcode),
            was_running=self.ledger.running(),
            had_ended=self.ledger.ended(),
            ran_elsewhere=self.ledger.running_elsewhere(),
            overran=overran,
            is_crash=self.killed_at is None and self.condemned_at is None,
        )

    @property
    def age_seconds(self) -> float:
        return clock.monotonic() - self.started_at
