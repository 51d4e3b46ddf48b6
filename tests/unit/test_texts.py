"""What databases refuse in a text."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_dbq.rules.texts import NUL, SURROGATE, why_refused, why_refused_in_json

ODD = st.sampled_from(
    ["\0", "\ud800", "\udc00", "\U0001d11e", "\\", "\\u0000", "\\ud800", "u", "a"]
)
TEXTS = st.lists(ODD, max_size=8).map("".join)


@given(TEXTS)
@example("\\\\u0000")
@example("\ud83d\\ude00")
@example("\udc00\ud800")
def test_what_is_refused_in_a_text_is_refused_in_its_json(text):
    # A pair of halves is one character to JSON, though not to Python.
    as_read = json.loads(json.dumps(text))
    refused = why_refused_in_json(json.dumps({text: 1}))

    assert (refused is None) == (why_refused(as_read) is None)


@given(st.text())
def test_only_those_two_are_refused(text):
    expected = NUL if "\0" in text else None

    assert why_refused(text) == why_refused_in_json(json.dumps([text])) == expected


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"], ids=ascii)
def test_half_a_character_is_refused(text):
    assert why_refused(text) == why_refused_in_json(json.dumps(text)) == SURROGATE
