"""How long something is."""

from __future__ import annotations

import contextlib
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from django_dbq.durations import as_duration


@given(st.timedeltas(timedelta(0)))
def test_a_timedelta_is_a_duration(duration):
    assert as_duration(duration) == duration


@given(st.integers(0, 10**9) | st.floats(0, 10**9))
def test_a_number_is_one_in_seconds(seconds):
    assert as_duration(seconds) == timedelta(seconds=seconds)


@given(st.none() | st.booleans() | st.text() | st.floats() | st.integers() | st.binary())
def test_anything_else_is_a_value_error_and_never_another_one(value):
    with contextlib.suppress(ValueError):
        assert as_duration(value) >= timedelta(0)
