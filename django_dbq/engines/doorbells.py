"""How an idle worker learns that jobs have come.

Each database has its own way; a look, which takes no lock, stands behind all of them. Who enqueues
rings by `engines/ringing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, ClassVar

from django_dbq import clock
from django_dbq.engines.queues import Queues
from django_dbq.engines.sessions import Sessions
from django_dbq.rules.queues import EVERY_QUEUE

SHARE_OF_DEAR_LOOKS = 0.1  # of the time, at most
DEAR_SECONDS = 0.05
KNOWN_SECONDS = 0.5  # for which a worker relies on what a look has told of scheduled jobs
LONG_PAST = datetime.min.replace(tzinfo=timezone.utc) + timedelta(days=2)


class Doorbell:
    """Looks for jobs again and again, at pauses that are a share of the quiet time before them.

    So the longer nothing has come, the more rarely an idle worker looks; and a job that comes after
    a quiet time waits for at most that share of it.
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


class Doorbells(Sessions, Queues):
    """The verbs by which workers wait for jobs."""

    bell: ClassVar[type[Doorbell]] = Doorbell

    def doorbell(
        self, queues: Sequence[str], *, worker_id: int, now: Callable[[], datetime]
    ) -> Doorbell:
        """What a worker of these queues waits for. `now` is a clock that tells the database's time.

        To be used by one thread, the one whose connection it is.
        """
        return self.bell(self, queues, worker_id=worker_id, now=now)

    def next_due(self, queues: Sequence[str], *, now: datetime) -> datetime | None:
        """From when on a job of these queues can be claimed: past, if one can; None: none waits.

        Takes no lock, and may name a time at which other callers have taken the job already.
        """
        if EVERY_QUEUE in queues:
            return self._next_due_of_all(now)
        statement, parameters = self._look_statement(queues, now)
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            answers = cursor.fetchone()
        if any(answers[: len(queues)]):
            return LONG_PAST
        times = [self._as_moment(each) for each in answers[len(queues) :] if each is not None]
        return min(times, default=None)

    def _next_due_of_all(self, now: datetime) -> datetime | None:
        if self.count_ready([EVERY_QUEUE], at_most=1, now=now):
            return LONG_PAST
        return next((moment for moment, _ in self.soonest()), None)

    def count_ready(self, queues: Sequence[str], *, at_most: int, now: datetime) -> int:
        """How many jobs of these queues can be claimed; counts no further than `at_most`."""
        which, order = self.ready_in_queue, self.claim_order
        if EVERY_QUEUE in queues:
            which, order = self.ready, f"{self.ready_queue}, {self.claim_order}"
        ready = (
            f"(SELECT 1 AS one FROM {self.table} {self.ready_rows} WHERE {which} "
            "AND (run_after IS NULL OR run_after <= %(now)s) "
            f"ORDER BY {order} LIMIT {int(at_most)})"
        )
        count = 0
        with self.connection.cursor() as cursor:
            for queue in queues:
                parameters = {"queue": queue, "now": self._as_parameter(now)}
                cursor.execute(f"SELECT COUNT(*) FROM {ready} AS ready", parameters)
                count += cursor.fetchone()[0]
                if count >= at_most:
                    return at_most
        return count

    def _look_statement(self, queues: Sequence[str], now: datetime) -> tuple[str, list[Any]]:
        # Ordered as a claim is, and so from the same index: EXISTS would leave it to statistics,
        # by which a table of finished jobs may seem full of ready ones.
        ready_in_queue = self.ready_in_queue % {"queue": "%s"}  # by place: there are several
        ready = (
            f"(SELECT 1 FROM {self.table} {self.ready_rows} WHERE {ready_in_queue} "
            f"AND (run_after IS NULL OR run_after <= %s) ORDER BY {self.claim_order} LIMIT 1)"
        )
        soonest = (
            f"(SELECT {self.soonest_run_after} FROM {self.table} WHERE {self.scheduled_in_queue} "
            "ORDER BY run_after LIMIT 1)"
        )
        columns = ", ".join([ready] * len(queues) + [soonest] * len(queues))
        of_ready = [each for queue in queues for each in (queue, self._as_parameter(now))]
        return f"SELECT {columns}", [*of_ready, *queues]

    def wake_parked(self, queue: str, *, limit: int) -> bool:
        """Wake up to so many workers that are parked and serve this queue; whether any was there.

        Here nobody parks: workers look by themselves.
        """
        return False
