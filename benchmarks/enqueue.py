"""What it costs to put jobs in: one by one beside a bare INSERT of the same row, and in bulk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from django.db import transaction

from benchmarks import table
from benchmarks.figures import Figure, Section, interleaved
from benchmarks.models import BareJob
from django_dbq import queue
from django_dbq.models import Job

BLOCKS = 15  # of each kind in each run, taking turns
ROWS_IN_A_BLOCK = 100
BULK_ROWS = 60_000
BATCH = 5_000  # more are more than MariaDB takes in one packet


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    blocks = 3 if quick else BLOCKS * runs
    yield Section(
        f"enqueue one by one: {blocks} blocks of {ROWS_IN_A_BLOCK} rows of each kind, in turn",
        [
            *beside_bare_insert("a commit for each row", nullcontext, blocks),
            *beside_bare_insert("one commit for a block", transaction.atomic, blocks),
        ],
    )
    rows = BULK_ROWS // 20 if quick else BULK_ROWS
    yield Section(f"enqueue in bulk: {rows:,} rows in one transaction", in_bulk(rows, runs))


def beside_bare_insert(
    what: str, committing: Callable[[], AbstractContextManager[object]], blocks: int
) -> list[Figure]:
    table.empty()
    plans = {
        "create": lambda: seconds_a_row(create, committing),
        "bare": lambda: seconds_a_row(bare_insert, committing),
    }
    found = interleaved(blocks, plans)
    bare = Figure(f"bare INSERT, {what}", [each * 1e6 for each in found["bare"]], "µs")
    create_times = [each * 1e6 for each in found["create"]]
    ratio = Figure("", create_times, "").median / bare.median
    note = f"{ratio:.2f} times the bare INSERT"
    return [Figure(f"Job.objects.create, {what}", create_times, "µs", note), bare]


def create() -> None:
    Job.objects.create(name="noop")


def bare_insert() -> None:
    BareJob.objects.create(
        name="noop", next_task="benchmarks.tasks.noop", task_index=0, workspace={}
    )


def seconds_a_row(
    insert: Callable[[], None], committing: Callable[[], AbstractContextManager[object]]
) -> float:
    started = time.perf_counter()
    with committing():
        for _ in range(ROWS_IN_A_BLOCK):
            insert()
    return (time.perf_counter() - started) / ROWS_IN_A_BLOCK


def in_bulk(rows: int, runs: int) -> list[Figure]:
    plans: dict[str, Callable[[], float]] = {
        "queue.enqueue_many": lambda: rows_a_second(rows, enqueue_many),
        "Job.objects.bulk_create": lambda: rows_a_second(rows, bulk_create),
        "bulk_create of the bare model": lambda: rows_a_second(rows, bare_bulk_create),
    }
    found = interleaved(runs, plans)
    return [Figure(what, values, "rows/s") for what, values in found.items()]


def rows_a_second(rows: int, insert: Callable[[int], object]) -> float:
    table.empty()
    started = time.perf_counter()
    insert(rows)
    seconds = time.perf_counter() - started
    assert Job.objects.count() == rows
    return rows / seconds


def enqueue_many(rows: int) -> None:
    queue.enqueue_many("noop", ({"number": number} for number in range(rows)))


def bulk_create(rows: int) -> None:
    jobs = (Job(name="noop", workspace={"number": n}) for n in range(rows))
    Job.objects.bulk_create(jobs, batch_size=BATCH)


def bare_bulk_create(rows: int) -> None:
    task = "benchmarks.tasks.noop"
    jobs = (
        BareJob(name="noop", next_task=task, task_index=0, workspace={"number": number})
        for number in range(rows)
    )
    BareJob.objects.bulk_create(jobs, batch_size=BATCH)
