"""How many jobs a worker takes at once: as many as it can soon start, judging by the last ones."""

from __future__ import annotations

BUFFER_SECONDS = 0.1  # of work that a worker keeps ready: longer makes urgent jobs wait
MOST_IN_FLIGHT = 4_000  # so that one half can be fetched while the other half is worked off
RECENT = 0.2  # the weight of the newest duration in the running mean


class MeanDuration:
    """The running mean of how long a job takes.

    Each thread of a pool writes it, without a lock: a duration that is lost now and then does no
    harm to a mean.
    """

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


class AsyncShare:
    """Which part of the claimed jobs is async, judging by the last ones."""

    def __init__(self) -> None:
        self.value: float | None = None  # as long as there were none whose kind is known

    def note(self, *, is_async: int, of: int) -> None:
        """So many of a number of claimed jobs are async; they weigh as much as they are many."""
        if of:
            before = is_async / of if self.value is None else self.value
            self.value = is_async / of + (before - is_async / of) * (1 - RECENT) ** of


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


def appetite_for_both(*, startable: int, free_slots: int, async_share: float | None) -> int:
    """How many jobs to claim if such a part of them will be async, which shows only afterwards.

    So many that neither the others are more than are `startable` on threads, nor those more than
    there are `free_slots` on the event loop: where one of the two is full, none. There may be very
    many of these: then it takes more than one claim to fill them.
    """
    if not async_share:
        return startable
    by_slots = free_slots / async_share
    by_threads = startable / (1 - async_share) if async_share < 1 else by_slots
    return int(min(by_slots, by_threads, max(startable, MOST_IN_FLIGHT)))


def fair_share(wanted: int, *, idle_threads: int, waiting: int, workers: int) -> int:
    """How many of the `wanted` jobs to take when others serve the same queues.

    An equal part of those that wait, rounded up; but a job for each idle thread in any case.
    """
    share = -(-waiting // max(workers, 1))
    return min(wanted, max(share, idle_threads))
