"""How an idle worker learns that jobs have come.

Each database has its own way; a look, which takes no lock, stands behind all of them. Who enqueues
rings by `engines/ringing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from django.conf import settings
from django.utils import timezone as django_timezone

from django_dbq import clock
from django_dbq.engines.holders import Holders

SHARE_OF_DEAR_LOOKS = 0.1  # of the time, at most
DEAR_SECONDS = 0.05
KNOWN_SECONDS = 0.5  # for which a worker relies on what a look has told of scheduled jobs
LONG_PAST = datetime.min.replace(tzinfo=timezone.utc) + timedelta(days=2)


class Doorbells(Holders):
    """The verbs by which workers wait for jobs."""

    ready_rows = ""  # which index a look goes by, where the planner has to be told

    def doorbell(
        self, queues: Sequence[str], *, worker_id: int, now: Callable[[], datetime]
    ) -> Doorbell:
        """What a worker of these queues waits for. `now` is a clock that tells the database's time.

        To be used by one thread, the one whose connection it is.
        """
        return Doorbell(self, queues, worker_id=worker_id, now=now)

    def next_due(self, queues: Sequence[str], *, now: datetime) -> datetime | None:
        """From when on a job of these queues can be claimed: past, if one can; None: none waits.

        Takes no lock, and may name a time at which other callers have taken the job already.
        """
        statement, parameters = self._look(queues, now)
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            answers = cursor.fetchone()
        if any(answers[: len(queues)]):
            return LONG_PAST
        times = [self._as_moment(each) for each in answers[len(queues) :] if each is not None]
        return min(times, default=None)

    def count_ready(self, queues: Sequence[str], *, at_most: int, now: datetime) -> int:
        """How many jobs of these queues can be claimed; counts no further than `at_most`."""
        ready = (
            f"(SELECT 1 AS one FROM {self.table} {self.ready_rows} WHERE {self.ready_in_queue} "
            f"AND (run_after IS NULL OR run_after <= %s) "
            f"ORDER BY {self.claim_order} LIMIT {int(at_most)})"
        )
        count = 0
        with self.connection.cursor() as cursor:
            for queue in queues:
                cursor.execute(
                    f"SELECT COUNT(*) FROM {ready} AS ready", [queue, self._as_parameter(now)]
                )
                count += cursor.fetchone()[0]
                if count >= at_most:
                    return at_most
        return count

    def _look(self, queues: Sequence[str], now: datetime) -> tuple[str, list[Any]]:
        # Ordered as a claim is, and so from the same index: EXISTS would leave it to statistics,
        # by which a table of finished jobs may seem full of ready ones.
        ready = (
            f"(SELECT 1 FROM {self.table} {self.ready_rows} WHERE {self.ready_in_queue} "
            f"AND (run_after IS NULL OR run_after <= %s) ORDER BY {self.claim_order} LIMIT 1)"
        )
        soonest = (
            f"(SELECT run_after FROM {self.table} WHERE {self.scheduled_in_queue} "
            "ORDER BY run_after LIMIT 1)"
        )
        columns = ", ".join([ready] * len(queues) + [soonest] * len(queues))
        of_ready = [each for queue in queues for each in (queue, self._as_parameter(now))]
        return f"SELECT {columns}", [*of_ready, *queues]

    def _as_moment(self, stored: Any) -> datetime:
        """What a raw statement returns for a DateTimeField, as an aware time."""
        moment: datetime = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
        if moment.tzinfo is not None:
            return moment
        zone = self.connection.timezone if settings.USE_TZ else None
        return django_timezone.make_aware(moment, zone)

    def wake_parked(self, queue: str, *, limit: int) -> bool:
        """Wake up to so many workers that are parked and serve this queue; whether any was there.

        Here nobody parks: workers look by themselves.
        """
        return False


class Doorbell:
    """Looks at pauses, which grow with the time in which nothing came: a share of it.

    What a look costs, an idle worker then spends ever less often, and what comes after a long quiet
    time waits for at most that share of it.
    """

    share, shortest_seconds, longest_seconds = 0.015, 0.010, 0.250

    def __init__(
        self,
        engine: Doorbells,
        queues: Sequence[str],
        *,
        worker_id: int,
        now: Callable[[], datetime],
    ) -> None:
        self.engine, self.queues, self.worker_id, self.now = engine, queues, worker_id, now
        self._came_at = clock.monotonic()
        self._due_at: datetime | None = None
        # The monotonic time until which, by the last look, no scheduled job is due. One that has
        # come since rings a bell if it is due sooner, and then there is another look.
        self.none_due_until = 0.0
        self._looked_at = clock.monotonic()
        self._look_seconds = [0.0, 0.0]  # what the last two looks took

    @property
    def socket(self) -> int | None:
        """What else ends the wait when it can be read: a file descriptor."""
        return None

    def found_work(self) -> None:
        """Jobs have come: the quiet time begins anew."""
        self._came_at = clock.monotonic()

    def pause_seconds(self) -> float:
        """For how long to sleep before asking whether it `rang`."""
        pause = max(self._quiet_seconds * self.share, self.shortest_seconds)
        return max(self._until_due(min(pause, self.longest_seconds)), self._rest_seconds)

    def rang(self) -> bool:
        """Whether there may be a job to claim."""
        return self._rest_seconds <= 0 and self.look()

    def leave(self) -> None:
        """The worker is busy: others should be woken."""

    @property
    def _quiet_seconds(self) -> float:
        return clock.monotonic() - self._came_at

    def look(self) -> bool:
        """Whether a job can be claimed now. If not, it knows from when on one can."""
        began_at = clock.monotonic()
        with self.engine.response_timeout():
            now = self.now()
            due_at = self.engine.next_due(self.queues, now=now)
        self._looked_at = clock.monotonic()
        self._look_seconds = [self._look_seconds[1], self._looked_at - began_at]
        is_due = due_at is not None and due_at <= now
        # One that is due and stays, because we do not know it or a rival has it, is no appointment.
        self._due_at = None if is_due else due_at
        self.none_due_until = 0.0 if is_due else self._looked_at + self._until_due(KNOWN_SECONDS)
        return is_due

    @property
    def _rest_seconds(self) -> float:
        """For how long not to look again: looks are dear while old snapshots keep what is done.

        Dear is what took long twice; once, it may have been the machine.
        """
        look_seconds = min(self._look_seconds)
        dearness = min(look_seconds / DEAR_SECONDS, 1.0)
        rest_seconds = look_seconds * dearness / SHARE_OF_DEAR_LOOKS
        return max(0.0, self._looked_at + rest_seconds - clock.monotonic())

    def _until_due(self, pause: float) -> float:
        if self._due_at is None:
            return pause
        due_in_seconds = (self._due_at - self.now()).total_seconds()
        return min(pause, max(due_in_seconds, self.shortest_seconds))
