"""The ids of new jobs."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbq.rules import identifiers
from django_dbq.rules.identifiers import first_id_of, uuid7, uuids7

MOMENTS = st.integers(min_value=0, max_value=(1 << 48) * 1_000_000 - 1)  # nanoseconds since 1970


def id_made_at(nanoseconds):
    class Stopped:
        @staticmethod
        def time_ns():
            return nanoseconds

    before, identifiers.time = identifiers.time, Stopped
    try:
        return uuid7()
    finally:
        identifiers.time = before


@given(MOMENTS)
def test_an_id_is_a_version_7_uuid_of_the_standard_s_variant(nanoseconds):
    made = id_made_at(nanoseconds)

    assert made.version == 7
    assert made.variant == uuid.RFC_4122


@given(MOMENTS)
def test_an_id_begins_with_the_millisecond_in_which_it_was_made(nanoseconds):
    assert id_made_at(nanoseconds).int >> 80 == nanoseconds // 1_000_000


@given(MOMENTS, MOMENTS)
def test_of_two_ids_made_a_microsecond_apart_the_later_one_is_greater(one, another):
    if abs(one - another) >= 1_000:
        assert (id_made_at(one) < id_made_at(another)) == (one < another)


def test_ids_made_at_the_same_moment_differ():
    assert len({id_made_at(1) for _ in range(1_000)}) == 1_000


def test_ids_made_by_many_threads_differ():
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: uuid7(), range(4_000)))

    assert len(set(made)) == len(made)


def test_an_id_is_made_now():
    before = time.time_ns() // 1_000_000
    made = uuid7().int >> 80

    assert before <= made <= time.time_ns() // 1_000_000


def test_the_first_id_of_a_moment_divides_those_made_before_it_from_those_made_later():
    now = datetime.now(timezone.utc)
    second = timedelta(seconds=1)

    assert first_id_of(now - second) < uuid7() < first_id_of(now + second)
    assert first_id_of(datetime(1, 1, 1, tzinfo=timezone.utc)).version == 7


@pytest.mark.parametrize("count", [0, 1, 3_000])
def test_as_many_ids_are_made_together_as_were_asked_for(count):
    assert len(set(uuids7(count))) == count


def test_ids_made_together_are_like_those_made_one_by_one_and_in_order():
    before = uuid7()
    made = [uuid.UUID(bytes=each) for each in uuids7(3_000)]

    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    assert [before, *made] == sorted([before, *made])
    milliseconds = (made[-1].int >> 80) - (made[0].int >> 80)
    assert milliseconds in (2, 3)  # a microsecond from each to the next
