"""PostgreSQL's advisory locks. Each has two numbers, of which the first says what it is about."""

from __future__ import annotations

# Given the first number: the second ones of all that somebody holds in this database. The server
# lists them without their sign.
HELD_KEYS = (
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND classid = %s AND objsubid = 2 AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)


def as_int4(number: int) -> int:
    """The last 32 bits of a number, with a sign, as the server takes them."""
    return (number + 2**31) % 2**32 - 2**31
