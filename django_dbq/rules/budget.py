"""When to ask again what may be dear to answer, so that asking takes only a share of the time."""

from __future__ import annotations

LONGEST_PAUSE_SECONDS = 5.0  # whatever it took: it may have been the machine that stood still


def ask_again_at(share: float, *, began_at: float, ended_at: float) -> float:
    """From when on; asking took from `began_at` to `ended_at`, monotonic times in seconds."""
    pause_seconds = (ended_at - began_at) / share
    return ended_at + min(pause_seconds, LONGEST_PAUSE_SECONDS)
