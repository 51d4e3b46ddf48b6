"""How long to wait before the next try."""

from __future__ import annotations


def pause_after(failures: int, *, first: float, longest: float) -> float:
    """Seconds to wait after that many failures in a row: twice as long each time, up to `longest`.

    `failures` may be any number: an outage of a week must not overflow.
    """
    return min(first * 2.0 ** min(max(failures - 1, 0), 30), longest)
