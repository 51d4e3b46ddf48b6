"""What every database can store in the columns of a job."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django_dbq.rules.due import why_no_time
from django_dbq.rules.options import (
    LARGEST_PRIORITY,
    LONGEST_NAME,
    LONGEST_PATH,
    LONGEST_QUEUE_NAME,
    SMALLEST_PRIORITY,
)
from django_dbq.rules.texts import why_refused


def _why_no_text(longest: int, text: Any) -> str | None:
    if not isinstance(text, str):
        if text is None:
            return "it is None."
        if hasattr(text, "resolve_expression"):
            return None
        text = str(text)  # as Django does
    if len(text) > longest:
        return f"{text!r} has {len(text)} characters, and the column holds {longest}."
    refusal = why_refused(text)
    return refusal and f"{refusal}: {text!r}."


def _why_no_queue(name: Any) -> str | None:
    return _why_no_text(LONGEST_QUEUE_NAME, name) if name != "" else "no worker can name it."


def _why_no_priority(priority: Any) -> str | None:
    if hasattr(priority, "resolve_expression"):
        return None
    try:
        number = int(priority)  # as Django does
    except (TypeError, ValueError, OverflowError):
        return f"{priority!r} is no whole number."
    if not SMALLEST_PRIORITY <= number <= LARGEST_PRIORITY:
        return f"{priority} is outside {SMALLEST_PRIORITY}…{LARGEST_PRIORITY}."
    return None


# Of a value: why some database or other cannot store it in this column; None if all can.
WHY_UNSTORABLE: dict[str, Callable[[Any], str | None]] = {
    "name": partial(_why_no_text, LONGEST_NAME),
    "queue_name": _why_no_queue,
    "next_task": partial(_why_no_text, LONGEST_PATH),
    "priority": _why_no_priority,
    "run_after": why_no_time,
}
