"""The table of states and transitions."""

from __future__ import annotations

import pytest

from django_dbq.models import Job
from django_dbq.rules.states import FINAL, HELD, TRANSITIONS, WAITING, State, sql_list


def test_every_state_is_waiting_held_or_final():
    assert sorted([*WAITING, *HELD, *FINAL]) == sorted(State)


def test_every_state_but_cancelled_can_be_reached():
    reached = {transition.target for transition in TRANSITIONS.values()}

    assert reached == set(State) - {State.CANCELLED}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_no_transition_leaves_a_final_state(name):
    assert not set(TRANSITIONS[name].sources) & set(FINAL)


def test_only_a_claim_takes_a_job_that_nobody_holds():
    takers = {name for name, step in TRANSITIONS.items() if set(step.sources) & set(WAITING)}

    assert takers == {"claim"}


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
