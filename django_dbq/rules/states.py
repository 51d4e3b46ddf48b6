"""The states of a job and the steps between them.

An outcome and a rerun read their states here; what the engines write, and the diagram in the
documentation, are checked against this table by tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import TextChoices


class State(TextChoices):
    """Where a job is in its life. The values are those of 3.3, and CANCELLED."""

    NEW = "NEW"  # waits; none of its tasks has run
    READY = "READY"  # waits; an earlier task of its list, or an earlier attempt, has run
    PROCESSING = "PROCESSING"  # a worker holds it
    STOPPING = "STOPPING"  # held, and its worker has been asked to exit
    FAILED = "FAILED"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"


# 3.3's documents say COMPLETED. Django refuses two names for one value inside the class body.
State.COMPLETED = State.COMPLETE  # type: ignore[attr-defined]

WAITING = (State.NEW, State.READY)
HELD = (State.PROCESSING, State.STOPPING)
ALIVE = (*WAITING, *HELD)
FINAL = (State.COMPLETE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Transition:
    """One arrow of the diagram: what a job may be before, and what it is after."""

    sources: tuple[State, ...]
    target: State


TRANSITIONS = {
    "claim": Transition(WAITING, State.PROCESSING),
    "advance": Transition(HELD, State.READY),  # the next task of the list
    "complete": Transition(HELD, State.COMPLETE),
    "fail": Transition(HELD, State.FAILED),
    "requeue": Transition(HELD, State.READY),  # a hook asked for another attempt
    "retry": Transition(HELD, State.READY),  # the attempt failed, and another one follows
    "crash": Transition(HELD, State.READY),  # the task's own process died of it
    "snooze": Transition(HELD, State.READY),  # the task asked to be called later
    "call off": Transition(HELD, State.CANCELLED),  # the task, or somebody, ended it
    "cancel": Transition(WAITING, State.CANCELLED),
    "rerun": Transition(FINAL, State.READY),
    "stop": Transition((State.PROCESSING,), State.STOPPING),
    "hand back": Transition(HELD, State.READY),  # claimed, not started
    "hand back untouched": Transition(HELD, State.NEW),  # and nothing of it had run before
    "rescue": Transition(HELD, State.READY),  # its worker is gone
}


def sql_list(states: tuple[State, ...]) -> str:
    """The states as SQL literals, so that the planner can prove a partial index's predicate."""
    return ", ".join(f"'{state.value}'" for state in states)
