"""Whether a claim costs the same beside millions of rows that it does not want."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from django.db import connections, transaction

from benchmarks import table
from benchmarks.figures import Figure, Section, interleaved, ratio
from django_dbq.engines import Claim, engine_for
from django_dbq.models import Job

DUE = 1_000
THOUSANDS = 1_000  # of future rows, and as many of finished ones
QUICK_THOUSANDS = 20
THOUSANDS_AT_ONCE = 100
ALIASES = ("default", "crowded")
CLAIMS_OF_ONE = 60
CLAIMS_OF_HUNDRED = 6

# Ordered in time on PostgreSQL, as ours are: a million random ones would be put all over the index.
NEW_ID = {
    "postgresql": "(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') "
    "|| substr(md5(random()::text), 13))::uuid",
    "mysql": "UUID()",
    "sqlite": "lower(hex(randomblob(16)))",
}


@dataclass(frozen=True)
class Milliseconds:
    of_one: float
    of_hundred: float


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    thousands = QUICK_THOUSANDS if quick else THOUSANDS
    for alias in ALIASES:
        table.empty(alias)
        table.let_statistics_age(alias)
    crowd("crowded", thousands)
    rounds = 1 if quick else max(3, runs)
    for when in ("before ANALYZE", "after ANALYZE"):
        if when == "after ANALYZE":
            for alias in ALIASES:
                table.analyze(alias)
        plans = {alias: lambda alias=alias: claims(alias) for alias in ALIASES}
        found = interleaved(rounds, plans)
        yield Section(
            f"claim, {when}: {DUE:,} due rows alone, and beside {thousands * 1000:,} future and "
            f"{thousands * 1000:,} finished ones",
            [*beside(found, "of_one", "1"), *beside(found, "of_hundred", "100")],
        )
    table.empty("crowded")


def beside(found: dict[str, list[Milliseconds]], which: str, jobs: str) -> list[Figure]:
    alone, crowded = (
        Figure(f"claim of {jobs}, {words}", [getattr(each, which) for each in found[alias]], "ms")
        for alias, words in (("default", "alone"), ("crowded", "crowded"))
    )
    note = f"{ratio(crowded, alone)} times the one alone"
    return [alone, Figure(crowded.what, crowded.values, crowded.unit, note)]


def claims(alias: str) -> Milliseconds:
    """The median time of a claim of 1 and of 100 from 1,000 due rows, which are put in anew."""
    engine = engine_for(alias)
    unfinished = (Job.STATES.NEW, Job.STATES.PROCESSING)
    Job.objects.using(alias).filter(run_after__isnull=True, state__in=unfinished).delete()
    with transaction.atomic(using=alias):
        Job.objects.using(alias).bulk_create(Job(name="noop") for _ in range(DUE))
    times: dict[int, list[float]] = {1: [], 100: []}
    for limit in [1] * CLAIMS_OF_ONE + [100] * CLAIMS_OF_HUNDRED:
        now = engine.now()
        started = time.perf_counter()
        claimed = engine.claim(Claim(["default"], limit=limit, worker_id=1, now=now))
        times[limit].append((time.perf_counter() - started) * 1e3)
        assert len(claimed) == limit
    return Milliseconds(median(times[1]), median(times[100]))


def crowd(alias: str, thousands: int) -> None:
    """Put in rows that no claim wants, of a higher priority than those that it does want."""
    now = engine_for(alias).now()
    week = timedelta(days=7)
    multiply(alias, thousands, state="NEW", run_after=now + week, created=now)
    multiply(alias, thousands, state="COMPLETE", created=now - week)


def multiply(alias: str, thousands: int, new_id: str = "", **values: object) -> None:
    """Put in that many thousand rows with these values.

    `new_id` is an expression for their ids; `a.number` and `b.number` in it count to a thousand.
    """
    connection = connections[alias]
    field = Job._meta.get_field
    finished = values["state"] == "COMPLETE"
    constants = {
        "name": "noop",
        "next_task": "" if finished else "benchmarks.tasks.noop",
        "workspace": "{}",
        "queue_name": "default",
        "priority": 5,
        "token": 1 if finished else 0,
        "attempts": 0,
        "crashes": 0,
        "run_after": None,
        "modified": values["created"],
        **values,
    }
    prepared = {
        name: value
        if name == "workspace"
        else field(name).get_db_prep_save(value, connection=connection)
        for name, value in constants.items()
    }
    table_name = connection.ops.quote_name(table.TABLE)
    statement = (
        f"INSERT INTO {table_name} (id, {', '.join(prepared)}) "
        "WITH RECURSIVE thousand(number) AS "
        "(SELECT 0 UNION ALL SELECT number + 1 FROM thousand WHERE number < 999) "
        f"SELECT {new_id or NEW_ID[connection.vendor]}, {', '.join(['%s'] * len(prepared))} "
        "FROM thousand a CROSS JOIN thousand b WHERE b.number BETWEEN %s AND %s"
    )
    with connection.cursor() as cursor:
        # In parts: a million rows in one transaction are a lot for a server's default settings.
        for first in range(0, thousands, THOUSANDS_AT_ONCE):
            last = min(first + THOUSANDS_AT_ONCE, thousands) - 1
            cursor.execute(statement, [*prepared.values(), first % 1000, last % 1000])
