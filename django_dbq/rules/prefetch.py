"""How many jobs a worker takes at once: as many as it can soon start, judging by the last ones."""

from __future__ import annotations

BUFFER_SECONDS = 0.1  # of work that a worker keeps ready: longer makes urgent jobs wait
MOST_IN_FLIGHT = 1_000  # so that one half can be fetched while the other half is worked off
RECENT = 0.2  # the weight of the newest duration in the running mean


class Pace:
    """The running mean of how long a job takes. One thread writes it; any may read."""

    def __init__(self) -> None:
        self.mean_seconds: float | None = None

    def note(self, seconds: float) -> None:
        """A job took this long; long ones count at once, short ones as they repeat."""
        if self.mean_seconds is None or seconds > self.mean_seconds:
            self.mean_seconds = (
                seconds if self.mean_seconds is None else ((self.mean_seconds + seconds) / 2)
            )
        else:
            self.mean_seconds += RECENT * (seconds - self.mean_seconds)


def appetite(
    *, threads: int, in_flight: int, mean_seconds: float | None, stuck_threads: int = 0
) -> int:
    """How many jobs to claim now, with `in_flight` of them already taken and not yet finished.

    Never fewer in flight than threads, so that none idles; beyond that only what the threads are
    likely to start within `BUFFER_SECONDS`, and only when half of that has been worked off. Not
    counted on are `stuck_threads`, whose jobs have taken longer than that already.
    """
    target = threads
    if mean_seconds is not None:
        moving = threads - stuck_threads
        startable = stuck_threads + moving * BUFFER_SECONDS / max(mean_seconds, 1e-6)
        target = int(min(max(threads, startable), max(threads, MOST_IN_FLIGHT)))
    if in_flight >= threads and in_flight > target // 2:
        return 0
    return max(0, target - in_flight)


def fair_share(wanted: int, *, idle_threads: int, waiting: int, workers: int) -> int:
    """How many of the `wanted` jobs to take when others serve the same queues.

    An equal part of those that wait, rounded up; but a job for each idle thread in any case.
    """
    share = -(-waiting // max(workers, 1))
    return min(wanted, max(share, idle_threads))
