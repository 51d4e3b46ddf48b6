"""How soon an enqueued job starts, what an idle worker uses, and what waking it costs others."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection, connections

from benchmarks import table
from benchmarks.figures import Figure, Section, interleaved
from benchmarks.worker import WorkerTree
from django_dbq.engines import ringing
from django_dbq.models import Job
from django_dbq.models.arrivals import arrived

PATIENCE_SECONDS = 30.0
SETTLE_SECONDS = 3.0  # for a worker to notice that it is idle
IDLE_SECONDS = 12.0
PACES = (0.05, 1.0)  # seconds from one job to the next
PACE_JOBS = {0.05: 200, 1.0: 30}
CLIENTS = 32
CLIENT_SECONDS = 4.0


def run(*, runs: int, quick: bool) -> Iterable[Section]:
    table.empty()
    with idle_worker() as worker:
        yield Section(
            "latency: one idle worker of one thread, from the call of create() to the task's first "
            "line, so with the INSERT and its commit",
            [
                figure
                for seconds in PACES
                for figure in latencies(seconds, PACE_JOBS[seconds] // (10 if quick else 1), runs)
            ],
        )
        yield Section(
            f"an idle worker: supervisor and worker, {IDLE_SECONDS:g} s each time",
            [Figure("CPU", [cores(worker) for _ in range(1 if quick else runs)], "cores")],
        )
    if connection.vendor == "postgresql":
        with idle_worker():
            yield Section(
                f"{CLIENTS} clients that commit enqueues at once, {CLIENT_SECONDS:g} s each time, "
                "and a worker",
                throughputs(runs * 2),
            )


@contextmanager
def idle_worker(*arguments: str) -> Iterator[WorkerTree]:
    worker = WorkerTree(*arguments, burst=False)
    try:
        started_after(Job.objects.create(name="stamps", workspace={"file": str(stamps())}))
        yield worker
    finally:
        worker.stop()


# How soon


def latencies(pace: float, jobs: int, runs: int) -> list[Figure]:
    medians, worst, calls = [], [], []
    for _ in range(runs):
        found = sorted(measured(pace) for _ in range(jobs))
        medians.append(found[len(found) // 2][0] * 1e3)
        worst.append(found[int(len(found) * 0.99)][0] * 1e3)
        calls.append(sorted(call for _, call in found)[len(found) // 2] * 1e3)
    what = f"a job every {pace:g} s"
    return [
        Figure(f"{what}: median", medians, "ms", f"{jobs} jobs a run"),
        Figure(f"{what}: 99 of 100 within", worst, "ms"),
        Figure(f"{what}: create() itself, median", calls, "ms", "with its commit, and the ring"),
    ]


def measured(pace: float) -> tuple[float, float]:
    """Enqueue a job; from the call on, how long until it started, and until the call returned."""
    called_at = time.monotonic()
    job = Job.objects.create(name="stamps", workspace={"file": str(stamps())})
    call_seconds = time.monotonic() - called_at
    seconds = started_after(job) - called_at
    time.sleep(pace * random.uniform(0.8, 1.2))  # in step with no poll
    return seconds, call_seconds


def stamps() -> Path:
    return Path(settings.DIRECTORY, "stamps")


def started_after(job: Job) -> float:
    """When the job's task began, on the clock that all processes of a host share."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if stamps().exists():
            text = stamps().read_text()
            for line in text.splitlines():
                pk, at = line.split()
                if pk == str(job.pk):
                    stamps().unlink()
                    return float(at)
        time.sleep(0.005)  # seldom: to watch closely would take the worker's processor
    raise TimeoutError(f"job {job.pk} did not start")


# What an idle worker uses


def cores(worker: WorkerTree) -> float:
    time.sleep(SETTLE_SECONDS)
    before, began = cpu_seconds(worker), time.monotonic()
    time.sleep(IDLE_SECONDS)
    return (cpu_seconds(worker) - before) / (time.monotonic() - began)


def cpu_seconds(worker: WorkerTree) -> float:
    tasks = [
        task
        for pid in (worker.pid, *worker.children())
        for task in Path(f"/proc/{pid}/task").iterdir()
    ]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


# What waking costs


def throughputs(runs: int) -> list[Figure]:
    plans: dict[str, Callable[[], float]] = {
        "with wake-ups": lambda: commits_a_second(with_wakeups=True),
        "without": lambda: commits_a_second(with_wakeups=False),
    }
    found = interleaved(runs, plans)
    off = Figure("without", found["without"], "commits/s")
    shares = [on / without for on, without in zip(found["with wake-ups"], found["without"])]
    share = f"{Figure('', shares, '').median:.3f} of those without, the median of the pairs"
    return [Figure("with wake-ups", found["with wake-ups"], "commits/s", share), off]


def commits_a_second(*, with_wakeups: bool) -> float:
    table.empty()
    connections.close_all()
    context = multiprocessing.get_context("fork")
    start, counts = context.Barrier(CLIENTS + 1), context.Array("L", CLIENTS)
    clients = [
        context.Process(target=be_a_client, args=(number, start, counts, with_wakeups))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    start.wait(PATIENCE_SECONDS)
    for client in clients:
        client.join(PATIENCE_SECONDS)
        assert client.exitcode == 0
    return sum(counts) / CLIENT_SECONDS


def be_a_client(number: int, start: object, counts: object, with_wakeups: bool) -> None:
    if not with_wakeups:
        arrived.disconnect(ringing.ring)
    Job.objects.create(name="noop")
    start.wait(PATIENCE_SECONDS)  # type: ignore[attr-defined]
    ends_at, count = time.monotonic() + CLIENT_SECONDS, 0
    while time.monotonic() < ends_at:
        Job.objects.create(name="noop")
        count += 1
    counts[number] = count  # type: ignore[index]
    connections.close_all()
