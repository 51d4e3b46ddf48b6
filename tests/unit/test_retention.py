"""Which finished jobs are over, and the pace at which they go."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbq.rules.retention import (
    LARGEST_PAGE,
    SHARE_OF_LOOKING,
    SHORTEST_REST_SECONDS,
    SMALLEST_PAGE,
    Pace,
    limits,
    rest_after,
    youngest_that_is_over,
)
from django_dbq.rules.states import FINAL
from django_dbq.settings import FINISHED, Retention

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)

AGES = st.none() | st.timedeltas(min_value=timedelta(0))
BY_STATE = st.fixed_dictionaries({state: AGES for state in FINAL})
RETENTIONS = st.builds(Retention, BY_STATE, st.dictionaries(st.sampled_from("abc"), BY_STATE))

PACE = Pace(page_seconds=0.05, share=0.2)


def is_over(retention, *, state, name, finished_at):
    """Whether any of the limits meets such a job."""
    return any(
        limit.state == state
        and (name in limit.names) is not limit.are_the_others_meant
        and finished_at <= limit.finished_by
        for limit in limits(retention, NOW)
    )


def test_the_setting_names_the_final_states():
    assert tuple(state.value for state in FINAL) == FINISHED


@given(
    RETENTIONS,
    st.sampled_from(FINAL),
    st.sampled_from("abcd"),
    st.timedeltas(timedelta(0), 99 * DAY),
)
def test_a_job_is_over_when_its_own_age_or_else_that_of_its_state_has_passed(
    retention, state, name, ago
):
    age = retention.by_name.get(name, retention.by_state)[state]
    expected = age is not None and ago >= age

    assert is_over(retention, state=state, name=name, finished_at=NOW - ago) is expected


@given(RETENTIONS.filter(lambda retention: not retention.is_endless))
def test_nothing_younger_than_the_youngest_is_over(retention):
    youngest = youngest_that_is_over(retention, NOW)

    assert all(limit.finished_by <= youngest for limit in limits(retention, NOW))


def test_what_is_kept_for_ever_has_no_limit():
    retention = Retention(dict.fromkeys(FINAL), {"a": dict.fromkeys(FINAL)})

    assert retention.is_endless
    assert list(limits(retention, NOW)) == []


@pytest.mark.parametrize(
    ("size", "seconds", "expected"),
    [
        (1_000, 0.05, 1_000),
        (1_000, 0.04, 1_250),
        (1_000, 0.0, 2_000),
        (1_000, 0.1, 500),
        (1_000, 60.0, 250),
    ],
)
def test_the_next_page_is_as_long_as_a_page_should_be_judging_by_the_last(size, seconds, expected):
    assert PACE.next_size(size, seconds) == expected


@given(st.integers(SMALLEST_PAGE, LARGEST_PAGE), st.floats(0, 1e6))
def test_a_page_is_never_empty_nor_endless(size, seconds):
    assert SMALLEST_PAGE <= PACE.next_size(size, seconds) <= LARGEST_PAGE


def test_the_pause_after_a_page_leaves_others_their_share_of_the_time():
    assert 0.05 / (0.05 + PACE.pause_after(0.05)) == pytest.approx(0.2)


def test_the_longer_a_sweep_looked_in_vain_the_longer_it_rests():
    assert rest_after(0) == SHORTEST_REST_SECONDS
    assert rest_after(100) == pytest.approx(100 / SHARE_OF_LOOKING)
