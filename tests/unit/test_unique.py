"""What makes two jobs the same."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from django_dbq.rules.unique import unique_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
NAMES = st.sampled_from(["account", "month", "x"])
ABOUT = st.dictionaries(NAMES, JSON)


def text(value):
    return json.dumps(value, sort_keys=True)


@given(ABOUT, ABOUT)
def test_two_jobs_of_a_name_are_the_same_if_all_that_they_are_about_is(one, other):
    assert (unique_key("a", one) == unique_key("a", other)) == (text(one) == text(other))


@given(ABOUT, ABOUT, st.lists(NAMES, min_size=1, unique=True))
def test_with_parts_named_the_others_do_not_count(one, other, parts):
    def counting(about):
        return text({part: about.get(part) for part in parts})

    same = unique_key("a", one, parts) == unique_key("a", other, parts)
    assert same == (counting(one) == counting(other))


@given(ABOUT)
def test_the_order_of_keys_does_not_count(about):
    assert unique_key("a", about) == unique_key("a", dict(reversed(about.items())))


@given(ABOUT)
def test_jobs_of_two_names_are_never_the_same(about):
    assert unique_key("a", about) != unique_key("b", about)


@given(st.text(), ABOUT)
def test_a_key_fits_its_column(name, about):
    assert len(unique_key(name, about)) == 64
