"""An attempt whose task and the record of its success are one transaction."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_dbq.engines import engine_for
from django_dbq.exceptions import LeaseLost
from django_dbq.rules.outcomes import HandedBack, Outcome
from django_dbq.worker.attempts import TaskAttempt
from django_dbq.worker.connections import roll_back_all_but
from django_dbq.worker.logs import log


class AtomicAttempt(TaskAttempt):
    """Both happen, or neither. What follows a failure is outside the transaction."""

    is_in_transaction = False

    def run(self) -> Outcome:
        using, engine = self.using, engine_for(self.using)
        task_raised: BaseException | None = None
        session = object()  # none as long as the transaction has not begun
        committed: list[bool] = []
        outside, self.already_open = self.already_open, self.already_open | {using}
        self.is_in_transaction = True
        try:
            with transaction.atomic(using=using):
                transaction.on_commit(partial(committed.append, True), using=using)
                session = connections[using].connection
                try:
                    outcome = self._run_inside()
                except BaseException as error:
                    task_raised = error
                    raise
                if engine.acknowledge([(self.job, outcome)], now=engine.now()):
                    raise LeaseLost(self.pk)
        except BaseException as error:
            self.already_open, self.is_in_transaction = outside, False
            # The outcome was rolled back, and so was what the task had saved.
            self.job.is_held_here, self.job.saved_workspace = True, None
            roll_back_all_but(outside, quietly=True)  # a broken session leaves Django in a block
            if committed:
                log(logging.ERROR, "Job id=%s: its on_commit raised.", self.pk, exc_info=error)
                return replace(outcome, is_written=True)
            if task_raised is not None or not self._is_undecided(error, session):
                return self.after_error(task_raised or error)
            # Perhaps the commit has arrived: then the job is not held any more, and the fence keeps
            # it from being given back.
            log(logging.WARNING, "Job id=%s: not committed, it goes back: %s", self.pk, error)
            return HandedBack(is_started=True)
        return replace(outcome, is_written=True)

    def _run_inside(self) -> Outcome:
        self._judge()
        self._run_task()
        if connections[self.using].closed_in_transaction:
            raise InterfaceError("The task closed the connection of its transaction.")
        return self._after_success()

    def _is_undecided(self, error: BaseException, session: object) -> bool:
        """Whether a transaction that failed in the end may have arrived all the same, or may arrive
        when it is tried again; a value that the database refuses never will.
        """
        if isinstance(error, (LeaseLost, InterfaceError)):
            return True
        engine = engine_for(self.using)
        if not isinstance(error, DatabaseError) or engine.has_lost_snapshot(error):
            return False
        was_cut_off = connections[self.using].connection is not session
        return was_cut_off or engine.is_transient(error)

    def _savepoint(self) -> AbstractContextManager[Any]:
        if self.is_in_transaction:
            return transaction.atomic(using=self.using)
        return super()._savepoint()
