"""Which jobs a worker process runs, in memory that its supervisor can read when it is dead."""

from __future__ import annotations

import mmap
from collections.abc import Container, Iterator
from uuid import UUID

from django_dbq import clock

# The words of a slot: when its job was started, 0 in a free one; when the process must be killed
# for it; 1 if the task runs in a process of its own; 1 if there is a job that has ended here.
# Behind them the ids of these two jobs.
STARTED, KILL_AT, IS_ELSEWHERE, HAS_ENDED = range(4)
SLOT_BYTES, ID_OFFSET, ENDED_OFFSET = 64, 32, 48
WORDS_OF_A_SLOT = SLOT_BYTES // 8
NEVER = float("inf")


class Ledger:
    """One slot for each run that a worker may have at a time. Made before it is forked, and shared.

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
        """That slot has this job now; `elsewhere`: and waits for the process that runs it."""
        offset = slot * SLOT_BYTES + ID_OFFSET
        self._bytes[offset : offset + 16] = job_id.bytes
        self._times[slot * WORDS_OF_A_SLOT + IS_ELSEWHERE] = float(elsewhere)
        self._times[slot * WORDS_OF_A_SLOT + STARTED] = clock.monotonic()

    def limit(self, slot: int, kill_at: float) -> None:
        """The process is to be killed if what runs in that slot still does then."""
        self._times[slot * WORDS_OF_A_SLOT + KILL_AT] = kill_at

    def end(self, slot: int) -> None:
        """Nothing runs in that slot now; what ran here stands there as ended."""
        word = slot * WORDS_OF_A_SLOT
        if not self._times[word + IS_ELSEWHERE]:
            offset = slot * SLOT_BYTES
            self._times[word + HAS_ENDED] = 0.0
            self._bytes[offset + ENDED_OFFSET : offset + SLOT_BYTES] = self._bytes[
                offset + ID_OFFSET : offset + ENDED_OFFSET
            ]
            self._times[word + HAS_ENDED] = 1.0
        self._times[word + STARTED] = 0.0
        self.limit(slot, NEVER)

    def keep_ended(self, unwritten: Container[UUID]) -> None:
        """Of the jobs that have ended, forget those whose outcomes are written down."""
        for slot in self._slots:
            if (
                self._times[slot * WORDS_OF_A_SLOT + HAS_ENDED]
                and self._ended(slot) not in unwritten
            ):
                self._times[slot * WORDS_OF_A_SLOT + HAS_ENDED] = 0.0

    # The supervisor reads

    def running(self) -> frozenset[UUID]:
        """The jobs whose tasks run in the worker's process, or ran when it died."""
        return self._ids(elsewhere=False)

    def running_elsewhere(self) -> frozenset[UUID]:
        """The jobs whose tasks run in processes of their own: they cannot take the worker down."""
        return self._ids(elsewhere=True)

    def ended(self) -> frozenset[UUID]:
        """The last job that has ended in each slot, if its outcome is perhaps not written down.

        What it has left behind, a thread or a broken library, may still take the worker down.
        """
        return frozenset(
            self._ended(slot)
            for slot in self._slots
            if self._times[slot * WORDS_OF_A_SLOT + HAS_ENDED]
        )

    def overdue(self, now: float) -> frozenset[UUID]:
        """The jobs for whose sake the worker must be killed, or had to be at that time."""
        return frozenset(job_id for job_id, kill_at, _ in self._entries() if kill_at <= now)

    def _ids(self, *, elsewhere: bool) -> frozenset[UUID]:
        return frozenset(job_id for job_id, _, where in self._entries() if where == elsewhere)

    def _ended(self, slot: int) -> UUID:
        offset = slot * SLOT_BYTES
        return UUID(bytes=self._bytes[offset + ENDED_OFFSET : offset + SLOT_BYTES])

    def _entries(self) -> Iterator[tuple[UUID, float, bool]]:
        for slot in self._slots:
            if not self._times[slot * WORDS_OF_A_SLOT + STARTED]:
                continue
            kill_at = self._times[slot * WORDS_OF_A_SLOT + KILL_AT]
            offset = slot * SLOT_BYTES + ID_OFFSET
            job_id = UUID(bytes=self._bytes[offset : offset + 16])
            elsewhere = bool(self._times[slot * WORDS_OF_A_SLOT + IS_ELSEWHERE])
            if self._times[slot * WORDS_OF_A_SLOT + STARTED]:
                yield job_id, kill_at, elsewhere
