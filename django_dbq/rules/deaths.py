"""What the death of a worker means for each job that it held."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from django_dbq.rules.states import State


def is_poison(crashes: int, *, most: int) -> bool:
    """Whether a task that so many processes died of is given up; its hooks are told."""
    return crashes >= most


def are_hooks_deadly(crashes: int, *, most: int) -> bool:
    """Whether the verdict itself has killed: then the hooks are not run again."""
    return crashes > most


class Verdict(Enum):
    """What is done with a job of a dead worker."""

    HAND_BACK = "hand back"  # it had not started: this costs it nothing
    INTERRUPTED = "interrupted"  # it ran, and is innocent
    CRASH = "crash"  # its task ran when the worker died, and may be why
    OVERRAN = "overran"  # the worker was killed because this task would not end


@dataclass(frozen=True)
class Death:
    """How a worker process ended, as far as those who find it know."""

    worker: str  # host and process id
    cause: str
    was_running: frozenset[UUID] | None = None  # the jobs whose tasks ran; None: nobody knows
    had_ended: frozenset[UUID] = frozenset()  # there, just before; perhaps not written down yet
    ran_elsewhere: frozenset[UUID] = frozenset()  # in processes of their own, which died with it
    overran: frozenset[UUID] = frozenset()  # it was killed for these
    is_crash: bool = True  # False: it was made to end, and no job is to blame

    def knowing(self, held: Collection[UUID], *, threads: int) -> frozenset[UUID]:
        """The jobs that ran, of those that it held.

        Where none ran it may have died of what one has left behind that had just ended: without
        that, such a job would be new each time, and take down one worker after the other.

        Where nobody knows: jobs that were claimed and not started go back within a second, so that
        a worker with no more jobs than threads was running them all. With more of them it had just
        claimed, and will claim fewer when it starts anew, or they are async. Nobody is blamed.
        """
        if self.was_running is not None:
            return self.was_running or self.had_ended
        return frozenset(held) if len(held) <= threads else frozenset()

    def verdict(self, job_id: UUID, state: State | str, running: Collection[UUID]) -> Verdict:
        """What happens to one of its jobs; `running` is what `knowing` returned.

        A job that is STOPPING is innocent: its worker had been asked to exit, and whoever asked
        has lost patience.
        """
        if job_id in self.overran:
            return Verdict.OVERRAN
        if state == State.STOPPING or job_id in self.ran_elsewhere:
            return Verdict.INTERRUPTED
        if job_id not in running:
            return Verdict.HAND_BACK
        return Verdict.CRASH if self.is_crash else Verdict.INTERRUPTED
