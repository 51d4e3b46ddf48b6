"""How deep a workspace may be nested."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbq.rules.nesting import DEEPEST_NESTING, is_readable


def nested(depth):
    return "[" * depth + "]" * depth


def test_the_deepest_is_readable_and_one_more_is_not():
    assert is_readable(nested(DEEPEST_NESTING))
    assert not is_readable(nested(DEEPEST_NESTING + 1))


def test_many_brackets_side_by_side_are_not_deep():
    assert is_readable(json.dumps([[] for _ in range(10 * DEEPEST_NESTING)]))


@pytest.mark.parametrize("text", ["[" * 1000, '"' + "{" * 1000, "\\" + "[" * 1000])
def test_brackets_inside_a_text_are_not_nesting(text):
    assert is_readable(json.dumps({"text": text}))


@given(st.integers(min_value=0, max_value=400), st.text())
def test_the_depth_counts_whatever_else_there_is(depth, text):
    value = text
    for _ in range(depth):
        value = {text: value}

    assert is_readable(json.dumps(value)) == (depth <= DEEPEST_NESTING)
