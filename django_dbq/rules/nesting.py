"""How deep a workspace may be nested."""

from __future__ import annotations

import re

# Python reads JSON by recursion, and gives up near 1,000 frames. What one process could still
# write another, deeper in its stack, could not read; a job that nobody can read stops its queue.
DEEPEST_NESTING = 200

_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def is_readable(json: str) -> bool:
    """Whether the JSON text is nested no deeper than `DEEPEST_NESTING`."""
    if json.count("[") + json.count("{") <= DEEPEST_NESTING:
        return True  # nearly always, and all that it costs
    depth = 0
    for found in _STRINGS_AND_BRACKETS.finditer(json):
        if found[0] in "[{":
            depth += 1
            if depth > DEEPEST_NESTING:
                return False
        elif found[0] in "]}":
            depth -= 1
    return True
