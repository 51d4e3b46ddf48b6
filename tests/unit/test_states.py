"""The table of states and transitions."""

from __future__ import annotations

import pytest

from django_dbq.models import Job
from django_dbq.rules.states import FINAL, HELD, TRANSITIONS, WAITING, State, sql_list


def test_every_state_is_waiting_held_or_final():
    assert sorted([*WAITING, *HELD, *FINAL]) == sorted(State)


def test_every_state_can_be_reached():
    assert {transition.target for transition in TRANSITIONS.values()} == set(State)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_sources_are_of_one_kind(name):
    """A step is taken by a worker that holds the job, or by somebody when nobody does."""
    sources = set(TRANSITIONS[name].sources)

    assert any(sources <= set(kind) for kind in (WAITING, HELD, FINAL))


def leaving(kind):
    return {name for name, step in TRANSITIONS.items() if set(step.sources) & set(kind)}


def test_only_a_rerun_leaves_a_final_state():
    assert leaving(FINAL) == {"rerun"}


def test_only_a_claim_or_a_cancel_takes_a_job_that_nobody_holds():
    assert leaving(WAITING) == {"claim", "cancel"}


def test_only_a_claim_makes_a_waiting_or_final_job_a_held_one():
    takers = {name for name, step in TRANSITIONS.items() if step.target in HELD}

    assert takers == {"claim", "stop"}
    assert TRANSITIONS["stop"].sources == (State.PROCESSING,)


def test_the_values_are_those_that_rows_of_3_3_hold():
    assert State.values == [
        "NEW",
        "READY",
        "PROCESSING",
        "STOPPING",
        "FAILED",
        "COMPLETE",
        "CANCELLED",
    ]


def test_completed_is_another_name_for_complete():
    assert State.COMPLETED is State.COMPLETE
    assert Job.STATES is State


def test_states_as_sql_are_quoted_literals():
    assert sql_list(WAITING) == "'NEW', 'READY'"
