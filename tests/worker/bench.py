"""The pool of a worker, without its loop: a test submits jobs and looks at what becomes of them."""

from __future__ import annotations

import contextlib

from django_dbq.worker.dispatcher import Dispatcher
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.watch import Watch
from tests.compat.waiting import wait_until


class Bench:
    """The pool of a worker, and what became of its jobs."""

    def __init__(self, threads=1, slots=10):
        self.options = WorkerOptions(threads=threads, async_concurrency=slots)
        self.ledger = Ledger(self.options.slots)
        self.finished = []
        self.pool = Dispatcher(
            self.options,
            finished=lambda *outcome: self.finished.append(outcome),
            ledger=self.ledger,
        )
        self.watch = Watch(lambda: self.pool.runs)

    def submit(self, *jobs):
        self.pool.submit(jobs)

    def outcomes(self, count=1):
        """Wait for that many; they are in the order in which the jobs ended."""

        def are_finished():
            self.watch.look()
            return len(self.finished) >= count

        wait_until(are_finished, f"{count} jobs were finished", story=lambda: f"{self.finished}")
        return [outcome for _, outcome in self.finished]


@contextlib.contextmanager
def benches():
    """What makes them; they are closed in the end."""
    opened = []

    def bench(**options):
        opened.append(Bench(**options))
        opened[-1].pool.__enter__()
        return opened[-1]

    try:
        yield bench
    finally:
        for each in opened:
            each.pool.take_back()
            each.watch.interrupt_all()
            each.pool.__exit__(None, None, None)
