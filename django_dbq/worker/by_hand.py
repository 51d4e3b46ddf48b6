"""A claimed job, attempted here and now, in the caller's thread: what test suites do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime

from django.db import DatabaseError, transaction

from django_dbq.clock import DatabaseClock, aware_now
from django_dbq.engines import Engine
from django_dbq.models import Job
from django_dbq.rules.outcomes import Outcome
from django_dbq.worker.acknowledger import Acknowledger
from django_dbq.worker.connections import open_transactions
from django_dbq.worker.executor import perform


def attempt_here(
    engine: Engine,
    job: Job,
    *,
    failed: Callable[[BaseException], None] | None = None,
) -> Outcome:
    """Run the task and write down what became of it; see `perform`.

    Returns what was written: that the job is FAILED, if the database refuses anything else. Then
    `failed` is told of its refusal.
    """
    outcome = perform(job, already_open=open_transactions(), failed=failed)
    return _Scribe(engine, failed).write_down(job, outcome)


class _HostClock(DatabaseClock):
    """Test suites move this host's clock."""

    def now(self) -> datetime:
        return aware_now()


class _Scribe(Acknowledger):
    """Writes down in the caller's transaction, which a refusal must not break."""

    def __init__(self, engine: Engine, failed: Callable[[BaseException], None] | None) -> None:
        super().__init__(engine, _HostClock(aware_now), worker="")
        self._failed = failed

    def write_down(self, job: Job, outcome: Outcome) -> Outcome:
        return self._write_alone(job, outcome)

    def _write(self, batch: list[tuple[Job, Outcome]]) -> None:
        is_inside = self._engine.connection.in_atomic_block
        with transaction.atomic(using=self._engine.using) if is_inside else nullcontext():
            super()._write(batch)

    def _refused(self, job: Job, outcome: Outcome, error: Exception) -> Outcome:
        if self._failed is not None:
            self._failed(error)
        return super()._refused(job, outcome, error)

    def _finds_outage(self, error: Exception) -> bool:
        # Not by connecting anew, which would end the caller's transaction.
        if not self._engine.connection.in_atomic_block:
            return super()._finds_outage(error)
        return isinstance(error, DatabaseError) and self._engine.is_transient(error)
