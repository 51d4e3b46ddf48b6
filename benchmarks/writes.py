"""What a job makes the database write: commits, log, dead rows, index entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from statistics import fmean

from django.db import connection, transaction

from benchmarks import table
from benchmarks.figures import Figure, Section
from benchmarks.worker import run_worker
from django_dbq.engines import Claim, engine_for
from django_dbq.rules.outcomes import SUCCESS

JOBS = 20_000
QUICK_JOBS = 2_000
BATCH = 100

Counters = dict[str, float]

OF_THE_TABLE = f"FROM pg_stat_user_tables WHERE relname = '{table.TABLE}'"

COUNTERS = {
    "postgresql": {
        "transactions": "SELECT xact_commit + xact_rollback FROM pg_stat_database "
        "WHERE datname = current_database()",
        "bytes of log (WAL)": "SELECT pg_current_wal_lsn() - '0/0'",
        "updates of rows": f"SELECT n_tup_upd {OF_THE_TABLE}",
        "  of them without touching an index (HOT)": f"SELECT n_tup_hot_upd {OF_THE_TABLE}",
        "dead rows left": f"SELECT n_dead_tup {OF_THE_TABLE}",
    },
    "mysql": {
        "transactions": "SHOW GLOBAL STATUS LIKE 'Handler_commit'",
        "bytes of log (redo)": "SHOW GLOBAL STATUS LIKE 'Innodb_os_log_written'",
        "updates of rows": "SHOW GLOBAL STATUS LIKE 'Handler_update'",
    },
    "sqlite": {},  # it keeps no count
}
NOTES = {
    "transactions": "reading ones too; at most 0.02 is wanted",
    "bytes of log (WAL)": "of the whole server: nobody else may write",
    "bytes of log (redo)": "of the whole server: nobody else may write",
    "dead rows left": "until autovacuum comes, which is off here",
}


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    counters = COUNTERS[connection.vendor]
    if not counters:
        return
    jobs = QUICK_JOBS if quick else JOBS
    with autovacuum_off():
        nothing = [spent_in(table.empty) for _ in range(runs)]
        drains = [spent_in(lambda: table.fill(jobs, "noop")) for _ in range(runs)]
    yield Section(
        f"writes: for each of {jobs:,} no-op jobs that a worker drains, less those of a worker "
        "that finds nothing",
        [
            Figure(
                what,
                [(after[what] - before[what]) / jobs for before, after in zip(nothing, drains)],
                "",
                NOTES.get(what, ""),
            )
            for what in counters
        ],
    )
    if connection.vendor == "postgresql":
        yield Section(
            f"writes: entries in btree indexes for a job, by the step of its life; {BATCH} at once",
            index_entries(jobs // 10),
        )


def spent_in(prepare: Callable[[], None]) -> Counters:
    """What a worker's whole run, from its start to its end, adds to each counter."""
    prepare()
    before = read_counters()
    run_worker()
    after = read_counters()
    return {what: value - before[what] for what, value in after.items()}


def read_counters() -> Counters:
    """By a new connection, a second later: a session hands its counts in when it ends."""
    connection.close()
    time.sleep(1)
    found = {}
    for what, statement in COUNTERS[connection.vendor].items():
        with connection.cursor() as cursor:
            cursor.execute(statement)
            found[what] = float(cursor.fetchone()[-1])
    return found


@contextmanager
def autovacuum_off() -> Iterator[None]:
    if connection.vendor != "postgresql":
        yield
        return
    table.execute(f"ALTER TABLE {table.TABLE} SET (autovacuum_enabled = off)")
    yield
    table.execute(f"ALTER TABLE {table.TABLE} RESET (autovacuum_enabled)")


def index_entries(jobs: int) -> list[Figure]:
    """Counted, since PostgreSQL does not tell: a row version that is no HOT update has an entry in
    each index whose condition it meets."""
    table.fill(jobs, "noop")
    engine = engine_for("default")
    enqueued, batches, not_hot = entries_of_a_row(), [], []
    for _ in range(jobs // BATCH):
        with transaction.atomic():
            batches.append(
                engine.claim(Claim(["default"], limit=BATCH, worker_id=1, now=engine.now()))
            )
            not_hot.append(share_not_hot())
    claimed = fmean(not_hot) * entries_of_a_row()
    not_hot.clear()
    for batch in batches:
        with transaction.atomic():
            assert not engine.acknowledge([(job, SUCCESS) for job in batch], now=engine.now())
            not_hot.append(share_not_hot())
    acknowledged = fmean(not_hot) * entries_of_a_row()
    return [
        Figure("enqueue", [enqueued], ""),
        Figure("claim", [claimed], ""),
        Figure("acknowledge", [acknowledged], ""),
        Figure("all", [enqueued + claimed + acknowledged], "", "at most 5 are wanted"),
    ]


def entries_of_a_row() -> float:
    """In how many btree indexes a row has an entry now, on the average."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(pg_get_expr(indpred, indrelid), 'true') FROM pg_index "
            "JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam "
            f"WHERE indrelid = '{table.TABLE}'::regclass AND amname = 'btree'"
        )
        met = " + ".join(f"(({condition}) IS TRUE)::int" for (condition,) in cursor.fetchall())
        cursor.execute(f"SELECT avg({met}) FROM {table.TABLE}")
        return float(cursor.fetchone()[0])


def share_not_hot() -> float:
    """Of the updates of this transaction, the share that is in the indexes anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables "
            f"WHERE relname = '{table.TABLE}'"
        )
        updates, hot = cursor.fetchone()
    return float(1 - hot / updates)
