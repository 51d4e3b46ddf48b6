"""How fast the database alone would be: the worker's own statements, and no Python for a job.

One batch is exchanged for another through the engine while the statements are noted down. They are
then sent again and again, with other ids in the places of the first ones.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from benchmarks import table
from django_dbq.engines import engine_for
from django_dbq.engines.claiming import Claim
from django_dbq.models import Job

BATCH = 500
AN_ID = re.compile("[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")

Ids = Sequence[Any]


@dataclass(frozen=True)
class Place:
    """Stands for an id: of the n-th job that is acknowledged, or of the n-th one that is claimed.

    Some are written into a text, with dashes or without; others are values, as the driver has them.
    """

    number: int
    is_claimed: bool
    is_value: bool
    has_dashes: bool

    def filled(self, done: Ids, claimed: Ids) -> Any:
        found = (claimed if self.is_claimed else done)[self.number]
        if self.is_value:
            return found
        if self.has_dashes:
            return str(found if isinstance(found, UUID) else UUID(found))
        return found.hex if isinstance(found, UUID) else found.replace("-", "")


@dataclass(frozen=True)
class Text:
    """A text with places in it: the statement itself, or a parameter that holds many ids."""

    parts: tuple[str | Place, ...]

    def filled(self, done: Ids, claimed: Ids) -> str:
        return "".join(
            [each if isinstance(each, str) else each.filled(done, claimed) for each in self.parts]
        )


@dataclass(frozen=True)
class Statement:
    sql: str | Text
    parameters: Any


def seconds_at_the_limit(jobs: int) -> float:
    """Fill the table with no-op jobs; claim and acknowledge them with bare statements."""
    assert jobs % BATCH == 0
    table.fill(jobs, "noop")
    started = time.monotonic()
    work_at_the_limit()
    seconds = time.monotonic() - started
    table.require_all_complete(jobs)
    return seconds


def work_at_the_limit() -> None:
    """Exchange whole batches, with bare statements, until no job is left."""
    statements, claimed = _noted_exchange()
    while claimed:
        claimed = _replay(statements, claimed)


def _noted_exchange() -> tuple[list[Statement], Ids]:
    """The statements of one exchange, and the ids of the jobs that it has claimed."""
    engine = engine_for("default")
    noted: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("BEGIN"):  # SQLite's, which atomic() sends again
            noted.append((sql, parameters))
        return execute(sql, parameters, many, context)

    claim = Claim(["default"], limit=BATCH, worker_id=1, now=engine.now())
    done = engine.claim(claim)
    with connection.execute_wrapper(note):
        lost, claimed = engine.exchange(done, claim)
    assert not lost
    places = {**_numbers(done, is_claimed=False), **_numbers(claimed, is_claimed=True)}
    statements = [Statement(_noted(sql, places), _noted(given, places)) for sql, given in noted]
    return statements, [job.pk for job in claimed]


def _numbers(jobs: Sequence[Job], *, is_claimed: bool) -> dict[str, tuple[int, bool]]:
    return {job.pk.hex: (number, is_claimed) for number, job in enumerate(jobs)}


def _noted(given: Any, places: dict[str, tuple[int, bool]]) -> Any:
    """What was given to the driver, with a Place for each id in it."""
    if isinstance(given, (list, tuple)):
        return [_noted(each, places) for each in given]
    if isinstance(given, dict):
        return {key: _noted(each, places) for key, each in given.items()}
    if isinstance(given, UUID):
        return Place(*places[given.hex], is_value=True, has_dashes=True)
    if not isinstance(given, str):
        return given
    parts: list[str | Place] = []
    end = 0
    for match in AN_ID.finditer(given):
        place = places[match[0].replace("-", "")]
        parts += (
            given[end : match.start()],
            Place(*place, is_value=False, has_dashes="-" in match[0]),
        )
        end = match.end()
    return Text((*parts, given[end:])) if parts else given


def _filled(noted: Any, done: Ids, claimed: Ids) -> Any:
    if isinstance(noted, list):
        return [_filled(each, done, claimed) for each in noted]
    if isinstance(noted, dict):
        return {key: _filled(each, done, claimed) for key, each in noted.items()}
    return noted.filled(done, claimed) if isinstance(noted, (Place, Text)) else noted


def _replay(statements: Sequence[Statement], done: Ids) -> Ids:
    """Acknowledge these jobs, claim others with the same commit; the ids of those."""
    claimed: Ids = []
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            try:
                sql = _filled(statement.sql, done, claimed)
                parameters = _filled(statement.parameters, done, claimed)
            except IndexError:
                break  # it is about claimed jobs, and there are none
            cursor.execute(sql, parameters)
            rows = cursor.fetchall() if cursor.description else []
            if len(rows) == BATCH:  # what the claim returns; the id is the first column
                claimed = [row[0] for row in rows]
    return claimed
