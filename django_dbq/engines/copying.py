"""Jobs in the binary form of PostgreSQL's COPY: nothing to escape, and nothing for it to parse."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from django.utils.timezone import is_naive, make_aware

from django_dbq.clock import aware_now
from django_dbq.engines.inserting import MICROSECOND, SAME_IN_ALL, SET_FOR_EACH, Run, length_of
from django_dbq.engines.statements import FIELDS
from django_dbq.models.workspace import workspace_as_json
from django_dbq.rules.identifiers import uuids7

ROWS_IN_A_PART = 250  # some tens of kilobytes: the server works on one while the next is made

BEGINNING, END = b"PGCOPY\n\xff\r\n\0" + bytes(8), struct.pack("!h", -1)
NULL = struct.pack("!i", -1)
MIDNIGHT_2000 = datetime(2000, 1, 1, tzinfo=timezone.utc)
JSONB_VERSION = 1

# How many columns; then the length and the value of each: SET_FOR_EACH, up to the workspace's text.
_EACH = struct.Struct("!h i16s iq iq iB")


def copied(runs: Sequence[Run], largest: int | None) -> Iterator[bytes]:
    """What to send to insert a row like its template for each workspace, in parts."""
    rows = _rows(runs, largest)
    yield BEGINNING
    while part := b"".join(islice(rows, ROWS_IN_A_PART)):
        yield part
    yield END


def _rows(runs: Sequence[Run], largest: int | None) -> Iterator[bytes]:
    columns, count = len(SET_FOR_EACH) + len(SAME_IN_ALL), length_of(runs)
    start = _microseconds(aware_now())
    stamps = zip(range(start, start + count), uuids7(count))
    known: dict[int, bytes] = {}
    for template, workspaces in runs:
        name, for_all = template.name, known.get(id(template))
        if for_all is None:
            for_all = b"".join(_value(each, getattr(template, each)) for each in SAME_IN_ALL)
            known[id(template)] = for_all
        for workspace, (created, id_bytes) in zip(workspaces, stamps):
            json = workspace_as_json(workspace, name, largest).encode()
            length = len(json) + 1
            yield (
                _EACH.pack(columns, 16, id_bytes, 8, created, 8, created, length, JSONB_VERSION)
                + json
                + for_all
            )


def _value(name: str, value: Any) -> bytes:
    """A column's value with its length before it."""
    value = FIELDS[name].get_prep_value(value)
    if value is None:
        return NULL
    if isinstance(value, datetime):
        return struct.pack("!iq", 8, _microseconds(value))
    if isinstance(value, int):
        return struct.pack("!ih", 2, value)
    text = str(value).encode()
    return struct.pack("!i", len(text)) + text


def _microseconds(moment: datetime) -> int:
    aware = make_aware(moment) if is_naive(moment) else moment
    return (aware - MIDNIGHT_2000) // MICROSECOND
