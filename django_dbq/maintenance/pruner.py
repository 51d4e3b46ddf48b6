"""Delete finished jobs that have been kept for as long as `DBQ["RETENTION"]` says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

from django.db import Error

from django_dbq import clock
from django_dbq.clock import DatabaseClock
from django_dbq.engines import Engine
from django_dbq.models.sweep import Sweep
from django_dbq.rules.retention import FIRST_PAGE, rest_after
from django_dbq.settings import Retention

logger = logging.getLogger("django_dbq.maintenance")

STANDBY_SECONDS = 1.0
PAUSE_AFTER_ERROR_SECONDS = 5.0


class Pruner:
    """Sweeps over the jobs, a short page at a time, as long as the duty is its own.

    That two of them sweep at once, because one was frozen, does no harm: each leaves alone what the
    other has locked.
    """

    def __init__(
        self, engine: Engine, retention: Retention, *, has_duty: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._retention = retention
        self._has_duty = has_duty
        self._clock = DatabaseClock(engine.now)
        self._page_size = FIRST_PAGE
        self._sweep: Sweep | None = None
        self._deleted = 0
        self._seconds_in_vain = 0.0

    def run(self, over: Event) -> None:
        """Prune until it is over."""
        while not over.wait(self.turn()):
            pass

    def turn(self) -> float:
        """Prune a page, if it is time to; returns how many seconds to wait after it."""
        if not self._has_duty():
            self._rest()
            return STANDBY_SECONDS
        try:
            pause = self._prune_page()
        except Exception as error:  # of the project too: its receivers are called for each job
            logger.warning(
                "Finished jobs could not be deleted: %s",
                str(error).strip() or type(error).__name__,
                exc_info=not isinstance(error, Error),
            )
            self._engine.forget_connection()
            pause = PAUSE_AFTER_ERROR_SECONDS
        if self._sweep is None or not self._sweep.is_done:
            return pause
        if self._deleted:
            logger.info("Finished jobs deleted because of their age: %d.", self._deleted)
        self._rest()
        return rest_after(self._seconds_in_vain)

    def _prune_page(self) -> float:
        sweep = self._sweep or self._begin()
        started_at = clock.monotonic()
        deleted = sweep.delete_next(self._page_size)
        seconds = clock.monotonic() - started_at
        self._deleted += deleted
        if not deleted:
            self._seconds_in_vain += seconds
        pace = self._engine.prune_pace
        self._page_size = pace.next_size(self._page_size, seconds)
        return pace.pause_after(seconds)

    def _begin(self) -> Sweep:
        self._engine.limit_waiting()
        self._clock.synchronize()
        self._sweep = self._engine.sweep(self._retention, now=self._clock.now())
        self._deleted, self._seconds_in_vain = 0, 0.0
        return self._sweep

    def _rest(self) -> None:
        """Without a connection, of which servers have only so many."""
        self._sweep = None
        self._engine.forget_connection()
