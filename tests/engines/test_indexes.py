"""What a verb costs does not depend on finished, future and gated rows, however many there are.

A few rows that matter are measured alone, and again in a crowd of rows that do not: how many rows
the database reads, and by which indexes its plan goes.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_dbq.clock import monotonic
from django_dbq.engines import Claim, engine_for
from django_dbq.models import Job
from django_dbq.rules.queues import EVERY_QUEUE
from django_dbq.rules.reach import Reach
from django_dbq.rules.states import State
from tests.engines.conftest import DEATH, NOW

DEAD_WORKER = 7
CROWD_OF_EACH_KIND = 1_500
TABLE = Job._meta.db_table


def claim_along(engine):
    """A claim that begins where an earlier one, just now, has found its first job."""
    reach = Reach()
    first = Job(created=NOW - timedelta(days=400))
    reach.looked_everywhere("default", [first], began_at=0, ended_at=monotonic())
    engine.claim(Claim(["default"], limit=10, worker_id=1, now=NOW, reach=reach))


VERBS = {
    "claim along a queue": claim_along,
    "claim": lambda engine: engine.claim(Claim(["default"], limit=10, worker_id=1, now=NOW)),
    "claim from a queue where nothing is due": lambda engine: engine.claim(
        Claim(["future"], limit=10, worker_id=1, now=NOW)
    ),
    "claim of jobs that have just fallen due": lambda engine: engine.claim(
        Claim(["due"], limit=10, worker_id=1, now=NOW)
    ),
    "claim from every queue": lambda engine: engine.claim(
        Claim([EVERY_QUEUE], limit=10, worker_id=1, now=NOW)
    ),
    "find all queues": lambda engine: (engine.heads(now=NOW), engine.soonest()),
    "look at every queue": lambda engine: engine.next_due([EVERY_QUEUE], now=NOW),
    "count in every queue": lambda engine: engine.count_ready([EVERY_QUEUE], at_most=9, now=NOW),
    "rescue": lambda engine: engine.rescue(DEAD_WORKER, DEATH, now=NOW),
    "hand back what is held unknown": lambda engine: engine.hand_back_unknown(
        DEAD_WORKER, known=set(), now=NOW
    ),
    "orphans": lambda engine: engine.orphans(),
    "vanished workers": lambda engine: engine.vanished_workers(),
}

# Which indexes may serve a verb; the primary key serves all.
INDEXES = {
    "claim along a queue": {"dbq_ready", "dbq_scheduled"},
    "claim": {"dbq_ready", "dbq_scheduled"},
    "claim from a queue where nothing is due": {"dbq_ready", "dbq_scheduled"},
    "claim of jobs that have just fallen due": {"dbq_ready", "dbq_scheduled"},
    "claim from every queue": {"dbq_ready", "dbq_scheduled"},
    "find all queues": {"dbq_ready", "dbq_scheduled"},
    "look at every queue": {"dbq_ready", "dbq_scheduled"},
    "count in every queue": {"dbq_ready", "dbq_scheduled"},
    "rescue": {"dbq_held"},
    "hand back what is held unknown": {"dbq_held"},
    "orphans": {"dbq_held"},
    "vanished workers": {"dbq_held"},
}


# ── What the database read ───────────────────────────────────────────────────────────────────────


def rows_read(verb):
    """How many rows of the job table the database reads for the verb; SQLite: steps of its machine.

    Whatever the verb does is undone.
    """
    engine = engine_for("default")
    with transaction.atomic():
        before = counted() if connection.vendor != "sqlite" else 0
        if connection.vendor == "sqlite":
            count = steps_of_sqlite(lambda: verb(engine))
        else:
            verb(engine)
            count = counted() - before
        transaction.set_rollback(True)
    return count


def steps_of_sqlite(call):
    steps = []
    connection.connection.set_progress_handler(lambda: steps.append(1), 10)
    try:
        call()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return len(steps) * 10


def counted():
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT seq_tup_read + COALESCE(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
                " WHERE relname = %s",
                [TABLE],
            )
            return int(cursor.fetchone()[0])
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(count) for _, count in cursor.fetchall())


# ── What the planner says ────────────────────────────────────────────────────────────────────────


def plans(verb):
    """The statements that the verb sends about jobs, each with its plan, as text."""
    engine = engine_for("default")
    with transaction.atomic():
        with CaptureQueriesContext(connection) as sent:
            verb(engine)
        transaction.set_rollback(True)
    statements = [query["sql"] for query in sent if TABLE in query["sql"]]
    assert statements
    return [(statement, plan(statement)) for statement in statements]


def plan(statement):
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}".replace("%", "%%"), [])
            return [line[-1] for line in cursor.fetchall()]
        if connection.vendor == "postgresql":
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}")
            return list(nodes(cursor.fetchone()[0][0]["Plan"]))
        cursor.execute(f"EXPLAIN FORMAT=JSON {statement}")
        return list(nodes(json.loads(cursor.fetchone()[0])))


def nodes(tree):
    """Every dict of nested dicts and lists."""
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from nodes(branch)


def ways_into_the_table(plan):
    """The names of the indexes by which a plan reaches jobs; None for a walk over all rows."""
    if connection.vendor == "sqlite":
        for line in plan:
            assert "TEMP B-TREE FOR ORDER" not in line, "the jobs are sorted anew each time"
            if line.startswith("SCAN ") and TABLE in line and "INDEX" not in line:
                yield None
            elif TABLE in line:
                yield line.split("INDEX ")[1].split()[0]
    elif connection.vendor == "postgresql":
        for node in plan:
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] == TABLE:
                yield None
            elif "Index Name" in node:
                yield node["Index Name"]
    else:
        for node in plan:
            if node.get("table_name") == TABLE:
                yield node.get("key")


def is_primary_key(index):
    if connection.vendor == "sqlite":
        return index.startswith("sqlite_autoindex")
    return index in ("PRIMARY", f"{TABLE}_pkey")


# ── The rows ─────────────────────────────────────────────────────────────────────────────────────


def insert(count, *, run_after=None, queue_name="default", **columns):
    template = Job(name="noop", run_after=run_after, queue_name=queue_name)
    engine_for("default").insert_alike(template, ({} for _ in range(count)))
    if columns:
        # Only new rows have token 0: what is inserted here is marked, so that it is changed once.
        Job.objects.filter(token=0).update(token=1, **columns)
    else:
        Job.objects.filter(token=0).update(token=1)


def insert_rows_that_matter():
    insert(40)
    insert(40, queue_name="due", run_after=NOW - timedelta(seconds=1))
    insert(10, state=State.PROCESSING, worker_id=DEAD_WORKER)


def insert_crowd():
    for queue in ("default", "future", "due"):
        insert(CROWD_OF_EACH_KIND, queue_name=queue, run_after=NOW + timedelta(days=7))
        insert(CROWD_OF_EACH_KIND, queue_name=queue, gate=1)
        insert(CROWD_OF_EACH_KIND // 3, queue_name=queue, gate=1, run_after=NOW)
        for state in (State.COMPLETE, State.FAILED, State.CANCELLED):
            insert(
                CROWD_OF_EACH_KIND // 3,
                queue_name=queue,
                state=state,
                worker_id=DEAD_WORKER,
                finished_at=NOW,
            )


@pytest.fixture(scope="module")
def alone_and_in_a_crowd(django_db_setup, django_db_blocker):
    """{verb: what it reads alone}; afterwards the crowd is there."""
    with django_db_blocker.unblock():
        try:
            insert_rows_that_matter()
            analyze()
            alone = {name: rows_read(verb) for name, verb in VERBS.items()}
            insert_crowd()
            analyze()
            yield alone
        finally:
            Job.objects.all().delete()


def analyze():
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{TABLE}")


@pytest.fixture
def unblocked(alone_and_in_a_crowd, django_db_blocker):
    with django_db_blocker.unblock():
        yield alone_and_in_a_crowd


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_reads_as_much_in_a_crowd_of_other_rows_as_without_it(unblocked, name):
    in_a_crowd = rows_read(VERBS[name])

    assert in_a_crowd <= 2 * unblocked[name] + 20


@pytest.mark.parametrize("name", VERBS)
def test_each_statement_of_a_verb_goes_by_an_index_made_for_it(unblocked, name):
    used = set()
    for statement, its_plan in plans(VERBS[name]):
        ways = list(ways_into_the_table(its_plan))
        assert None not in ways, f"every row is walked for: {statement}"
        used.update(index for index in ways if not is_primary_key(index))

    assert used
    assert used <= INDEXES[name]


def test_to_find_all_queues_takes_as_much_however_many_jobs_wait_in_each(unblocked):
    before = rows_read(VERBS["find all queues"])
    with transaction.atomic():
        insert(2_000)
        insert(2_000, run_after=NOW + timedelta(days=7))
        after = rows_read(VERBS["find all queues"])
        transaction.set_rollback(True)

    assert after <= before + 20


def test_the_question_for_cancels_goes_by_primary_key(unblocked):
    held = list(Job.objects.filter(worker_id=DEAD_WORKER, state=State.PROCESSING))

    for statement, its_plan in plans(lambda engine: engine.cancel_requests(held)):
        for index in ways_into_the_table(its_plan):
            assert index is not None, f"every row is walked for: {statement}"
            assert is_primary_key(index), f"{index}: {statement}"


def test_the_measure_sees_a_verb_that_walks_the_table(unblocked):
    walked = rows_read(lambda engine: list(Job.objects.filter(workspace__a=1)))

    assert walked > 10 * CROWD_OF_EACH_KIND


@pytest.mark.skipif("connection.vendor == 'mysql'", reason="to analyze is to commit there")
def test_the_question_for_due_jobs_goes_by_its_index_whatever_the_statistics_say(db):
    insert(CROWD_OF_EACH_KIND, run_after=NOW - timedelta(seconds=1))
    analyze()
    Job.objects.update(state=State.COMPLETE)

    for statement, its_plan in plans(VERBS["claim"]):
        assert None not in list(ways_into_the_table(its_plan)), f"all rows for: {statement}"
