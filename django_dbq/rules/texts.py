"""What some database or other refuses in a text: PostgreSQL NUL, most of them half a character."""

from __future__ import annotations

import re

NUL = "it has a NUL character, which some databases refuse"
SURROGATE = "it has a lone surrogate, half of a character, which some databases refuse"

# The escapes of ASCII JSON, as Python writes it; the group is one that is refused.
_ESCAPES = re.compile(
    r"\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(u0000|ud[89a-f][0-9a-f]{2})|.)"
)


def why_refused(text: str) -> str | None:
    """Why no text like this can be stored everywhere; None if it can."""
    if "\0" in text:
        return NUL
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return SURROGATE
    return None


def why_refused_in_json(json: str) -> str | None:
    """The same of the texts within JSON, keys included; `json` is ASCII."""
    if "\\u0000" not in json and "\\ud" not in json:
        return None  # nearly always, and all that it costs
    for found in _ESCAPES.finditer(json):
        if found[1]:
            return NUL if found[1] == "u0000" else SURROGATE
    return None
