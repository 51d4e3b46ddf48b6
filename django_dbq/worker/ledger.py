"""Which jobs a worker process runs, in memory that its supervisor can read when it is dead."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from uuid import UUID

from django_dbq import clock

# A slot: when its job was started, 0 in a free one; when the process must be killed for it; 1 if
# the task runs in a process of its own; the job's id.
SLOT_BYTES, ID_OFFSET = 40, 24
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

    def start(self, slot: int, job_id: UUID, *, elsewhere: bool = False) -> None:
        """That thread has this job now; `elsewhere`: and waits for the process that runs it."""
        offset = slot * SLOT_BYTES + ID_OFFSET
        self._bytes[offset : offset + 16] = job_id.bytes
        self._times[slot * WORDS_OF_A_SLOT + 2] = float(elsewhere)
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
        """The jobs whose tasks run in the worker's process, or ran when it died."""
        return self._ids(elsewhere=False)

    def running_elsewhere(self) -> frozenset[UUID]:
        """The jobs whose tasks run in processes of their own: they cannot take the worker down."""
        return self._ids(elsewhere=True)

    def overdue(self, now: float) -> frozenset[UUID]:
        """The jobs for whose sake the worker must be killed, or had to be at that time."""
        return frozenset(job_id for job_id, kill_at, _ in self._entries() if kill_at <= now)

    def _ids(self, *, elsewhere: bool) -> frozenset[UUID]:
        return frozenset(job_id for job_id, _, where in self._entries() if where == elsewhere)

    def _entries(self) -> Iterator[tuple[UUID, float, bool]]:
        for slot in self._slots:
            kill_at = self._times[slot * WORDS_OF_A_SLOT + 1]
            offset = slot * SLOT_BYTES + ID_OFFSET
            job_id = UUID(bytes=self._bytes[offset : offset + 16])
            elsewhere = bool(self._times[slot * WORDS_OF_A_SLOT + 2])
            if self._times[slot * WORDS_OF_A_SLOT]:
                yield job_id, kill_at, elsewhere
