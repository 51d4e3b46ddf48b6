"""What makes two jobs the same: one name, and the same in all that they are about, or in parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any


def unique_key(name: str, about: Any, parts: Collection[str] = ()) -> str:
    """A text of 64 characters that two jobs have in common if and only if they are the same.

    `about` is what JSON has made of it. `parts` are the keys of it that count: all, if none is
    named, or if it has no keys. One that it lacks is the same as one that is null.
    """
    has_parts = parts and isinstance(about, Mapping)
    counting = {part: about.get(part) for part in parts} if has_parts else about
    text = json.dumps([name, counting], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
