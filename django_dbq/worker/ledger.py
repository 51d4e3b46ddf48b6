"""Which jobs a worker process runs, in memory that its supervisor can read when it is dead."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from uuid import UUID

from django_dbq import clock

# A slot: when its job was started, 0 in a free one; when the process must be killed for it; its id.
SLOT_BYTES, ID_OFFSET = 32, 16
WORDS_OF_A_SLOT = SLOT_BYTES // 8
NEVER = float("inf")


class Ledger:
    """One slot for each thread of a worker. Made before the worker is forked, and shared with it.

    Times are CLOCK_MONOTONIC's, which is the same for all processes of a host. A living worker
    goes on writing: what was read once is certain only when it is dead.
    """

    def __init__(self, slots: int) -> None:
        self._slots = range(slots)
        self._bytes = mmap.mmap(-1, SLOT_BYTES * slots)
        # Each time is one aligned word, and so is written whole. (struct.pack_into() would not do:
        # it sets all to 0 first, and 0 is long ago.)
        self._times = memoryview(self._bytes).cast("d")
        for slot in self._slots:
            self.limit(slot, NEVER)

    # The worker writes

    def start(self, slot: int, job_id: UUID) -> None:
        """This job runs on that thread now."""
        offset = slot * SLOT_BYTES + ID_OFFSET
        self._bytes[offset : offset + 16] = job_id.bytes
        self._times[slot * WORDS_OF_A_SLOT] = clock.monotonic()

    def limit(self, slot: int, kill_at: float) -> None:
        """The process is to be killed if the thread is still at it then."""
        self._times[slot * WORDS_OF_A_SLOT + 1] = kill_at

    def end(self, slot: int) -> None:
        """Nothing runs on that thread now."""
        self._times[slot * WORDS_OF_A_SLOT] = 0.0
        self.limit(slot, NEVER)

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
            kill_at = self._times[slot * WORDS_OF_A_SLOT + 1]
            offset = slot * SLOT_BYTES + ID_OFFSET
            job_id = UUID(bytes=self._bytes[offset : offset + 16])
            if self._times[slot * WORDS_OF_A_SLOT]:
                yield job_id, kill_at
