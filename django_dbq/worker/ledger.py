"""Which jobs a worker process runs, in memory that its supervisor can read when it is dead."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from uuid import UUID

from django_dbq import clock

NEVER = float("inf")

# A slot: the job's id, and two times as doubles. Each of these is written at once, so that who
# reads while another process writes finds the old time or the new one, and none that never was.
ID_BYTES, TIME_BYTES = 16, 8
SLOT_BYTES = ID_BYTES + 2 * TIME_BYTES


class Ledger:
    """One slot for each thread of a worker. Made before the worker is forked, and shared with it.

    Times are CLOCK_MONOTONIC's, which is the same for all processes of a host. A living worker
    goes on writing: what was read once is certain only when it is dead.
    """

    def __init__(self, slots: int) -> None:
        self._ids = mmap.mmap(-1, SLOT_BYTES * slots)
        self._times = memoryview(self._ids).cast("d")
        self._slots = range(slots)

    # The worker writes

    def start(self, slot: int, job_id: UUID) -> None:
        """This job runs on that thread now."""
        at = slot * SLOT_BYTES
        self._ids[at : at + ID_BYTES] = job_id.bytes
        self._times[_kill_at(slot)] = NEVER
        self._times[_started_at(slot)] = clock.monotonic()

    def limit(self, slot: int, kill_at: float) -> None:
        """The process is to be killed if the thread is still at it then."""
        self._times[_kill_at(slot)] = kill_at

    def end(self, slot: int) -> None:
        """Nothing runs on that thread now."""
        self._times[_started_at(slot)] = 0.0

    # The supervisor reads

    def running(self) -> frozenset[UUID]:
        """The jobs whose tasks run, or ran when the worker died."""
        return frozenset(job_id for job_id, _ in self._entries())

    def overdue(self, now: float) -> frozenset[UUID]:
        """The jobs for whose sake the worker must be killed, or had to be at that time."""
        return frozenset(job_id for job_id, kill_at in self._entries() if kill_at <= now)

    def next_kill_at(self) -> float:
        """When the first of them is overdue; infinity if none will be."""
        return min((kill_at for _, kill_at in self._entries()), default=NEVER)

    def _entries(self) -> Iterator[tuple[UUID, float]]:
        for slot in self._slots:
            kill_at = self._times[_kill_at(slot)]
            if self._times[_started_at(slot)]:
                at = slot * SLOT_BYTES
                yield UUID(bytes=self._ids[at : at + ID_BYTES]), kill_at


def _kill_at(slot: int) -> int:
    return (slot * SLOT_BYTES + ID_BYTES) // TIME_BYTES


def _started_at(slot: int) -> int:
    return _kill_at(slot) + 1
