"""How fast the database alone would be: the worker's own statements, and no Python for a job.

One batch goes through the engine while its statements are noted down. They are then sent again and
again, with the ids of the rows that the claim returned in the places of the first ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django.db import connection, transaction

from benchmarks import table
from django_dbq.engines import engine_for
from django_dbq.rules.outcomes import Completed

BATCH = 500


@dataclass(frozen=True)
class Place:
    """Stands in the parameters of a statement for the id of the batch's n-th job."""

    number: int


@dataclass(frozen=True)
class Statement:
    sql: str
    parameters: Any
    in_transaction: bool

    def parameters_for(self, ids: Sequence[Any]) -> Any:
        if not isinstance(self.parameters, list):
            return self.parameters
        return _filled(self.parameters, ids)


def seconds_at_the_limit(jobs: int) -> float:
    """Fill the table with no-op jobs; claim and acknowledge them with bare statements."""
    assert jobs % BATCH == 0
    table.fill(jobs, "noop")
    started = time.monotonic()
    statements = _noted_batch()
    for _ in range(jobs // BATCH - 1):
        _replay(statements)
    seconds = time.monotonic() - started
    table.require_all_complete(jobs)
    return seconds


def work_at_the_limit() -> None:
    """Claim and acknowledge whole batches, with bare statements, until no job is left."""
    statements = _noted_batch()
    with suppress(IndexError):  # of the first id, where the claim found nothing
        while True:
            _replay(statements)


def _noted_batch() -> list[Statement]:
    engine = engine_for("default")
    noted: list[tuple[str, Any, bool]] = []

    def note(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if not sql.startswith("BEGIN"):  # SQLite's, which atomic() sends again
            noted.append((sql, parameters, context["connection"].in_atomic_block))
        return execute(sql, parameters, many, context)

    now = engine.now()
    with connection.execute_wrapper(note):
        jobs = engine.claim(["default"], limit=BATCH, worker_id=1, now=now)
        assert not engine.acknowledge([(job, Completed()) for job in jobs], now=now)
    numbers = {job.pk.hex: number for number, job in enumerate(jobs)}
    return [Statement(sql, _places(given, numbers), inside) for sql, given, inside in noted]


def _places(parameters: Any, numbers: dict[str, int]) -> Any:
    """The parameters with a Place for each id; where they are by name there is none."""
    if isinstance(parameters, (list, tuple)):
        return [_places(each, numbers) for each in parameters]
    number = numbers.get(str(parameters).replace("-", ""))
    return parameters if number is None else Place(number)


def _filled(parameters: Any, ids: Sequence[Any]) -> Any:
    """The parameters with the ids in their places."""
    if isinstance(parameters, list):
        return [_filled(each, ids) for each in parameters]
    return ids[parameters.number] if isinstance(parameters, Place) else parameters


def _replay(statements: Sequence[Statement]) -> None:
    ids: list[Any] = []
    for inside, together in groupby(statements, key=lambda statement: statement.in_transaction):
        with transaction.atomic() if inside else nullcontext(), connection.cursor() as cursor:
            for statement in together:
                cursor.execute(statement.sql, statement.parameters_for(ids))
                rows = cursor.fetchall() if cursor.description else []
                if len(rows) == BATCH:  # what the claim returns; the id is the first column
                    ids = [row[0] for row in rows]
