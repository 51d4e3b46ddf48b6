"""How long to wait before the next try."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_dbq.rules.backoff import pause_after


def test_each_pause_is_twice_the_last_up_to_the_longest():
    pauses = [pause_after(failures, first=0.2, longest=1.0) for failures in (1, 2, 3, 4, 5)]

    assert pauses == [0.2, 0.4, 0.8, 1.0, 1.0]


@given(st.integers(min_value=0))
def test_no_number_of_failures_is_too_large(failures):
    assert 0.2 <= pause_after(failures, first=0.2, longest=5.0) <= 5.0
