"""Time-ordered ids for new jobs."""

from __future__ import annotations

import os
import struct
import time
import uuid
from collections.abc import Iterator
from datetime import datetime


def uuid7() -> uuid.UUID:
    """A version 7 UUID: rows inserted together lie together in the primary key's index.

    48 bits of Unix milliseconds, 12 bits of the millisecond's fraction (RFC 9562, section 6.2,
    method 3), 62 random bits. No state is kept, so it is safe in threads and after a fork.
    """
    random_bits = int.from_bytes(os.urandom(8), "big")
    return uuid.UUID(int=_first_half(time.time_ns()) << 64 | _second_half(random_bits))


def uuids7(count: int) -> Iterator[bytes]:
    """The bytes of so many version 7 UUIDs, each a microsecond later than the one before it.

    One look at the clock and one at the source of randomness for all of them.
    """
    start = time.time_ns()
    randoms = struct.iter_unpack("!Q", os.urandom(8 * count))
    for number, (random_bits,) in enumerate(randoms):
        yield _HALVES.pack(_first_half(start + number * 1_000), _second_half(random_bits))


_HALVES = struct.Struct("!QQ")


def _first_half(nanoseconds: int) -> int:
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    return (milliseconds & ((1 << 48) - 1)) << 16 | 0x7 << 12 | (rest << 12) // 1_000_000


def _second_half(random_bits: int) -> int:
    return 0b10 << 62 | random_bits & ((1 << 62) - 1)


def first_id_of(moment: datetime) -> uuid.UUID:
    """Ids made by `uuid7()` before that moment come before it, and those made later after it."""
    milliseconds = max(0, int(moment.timestamp() * 1_000))
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62)
