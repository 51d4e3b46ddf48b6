"""How many jobs a worker takes: what it may and can soon start, and no more than its share."""

from __future__ import annotations

import sys
from datetime import datetime

from django_dbq import clock
from django_dbq.engines import Engine
from django_dbq.rules.budget import ask_again_at
from django_dbq.rules.prefetch import (
    BUFFER_SECONDS,
    MOST_IN_FLIGHT,
    appetite,
    appetite_for_both,
    fair_share,
)
from django_dbq.rules.queues import overlap
from django_dbq.worker.dispatcher import Dispatcher
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.registration import Lease

# Jobs shorter than this are not shared out: all that one worker takes is done before another one
# could have come for its part, and counting them would cost more than they do.
SHORT_SECONDS = 0.001
PEERS_INTERVAL_SECONDS = 1.0  # how often it counts who else is there
# Of the time, at most. While an old snapshot is open, the count of waiting jobs walks over the
# index entries of all that are done.
SHARE_OF_COUNTING = 0.05
EXPLORE_AFTER_SECONDS = 0.5  # since what was taken had to be given back


class Appetite:
    """Of one worker; used by its loop's thread, but for `job_ended`.

    `in_flight` is how many jobs it has taken and not finished, `finished` how many it has.
    """

    def __init__(
        self, options: WorkerOptions, engine: Engine, pool: Dispatcher, *, lease: Lease
    ) -> None:
        self._options, self._engine, self._pool, self._lease = options, engine, pool, lease
        self._next_job_at = float("-inf")
        self._peers = 1
        self._peers_counted_at = float("-inf")
        self._waiting = 0
        self._count_waiting_at = float("-inf")

    def limit(self, in_flight: int, *, finished: int, now: datetime) -> int:
        """How many jobs to claim, when others wait for jobs too. May ask the database."""
        wanted = self.wanted(in_flight, finished=finished)
        return self._share_of(wanted, in_flight, now=now) if wanted else 0

    def wanted(self, in_flight: int, *, finished: int) -> int:
        """How many more jobs it may take, and can soon start."""
        if not self._lease.holds:
            return 0
        jobs_left = self._jobs_left(in_flight, finished)
        if self._options.rate_limit_seconds:
            return 0 if in_flight or self.too_soon_seconds else min(1, jobs_left)
        on_threads = self._on_threads(in_flight)
        startable = appetite(
            threads=self._options.threads,
            in_flight=on_threads,
            mean_seconds=self._pool.pace.mean_seconds,
            stuck_threads=self._pool.stuck_threads(BUFFER_SECONDS),
        )
        wanted = self._of_both_kinds(startable) or self._to_explore(on_threads)
        return min(wanted, jobs_left)

    def has_room(self, in_flight: int) -> bool:
        """Whether a job that came now could be started at once, wherever it belongs."""
        if self._on_threads(in_flight) < self._options.threads:
            return True
        return bool(self._pool.async_share.value) and self._pool.free_slots > 0

    def _on_threads(self, in_flight: int) -> int:
        return self._pool.on_threads if self._pool.async_share.value else in_flight

    def _of_both_kinds(self, startable: int) -> int:
        return appetite_for_both(
            startable=startable,
            free_slots=self._pool.free_slots,
            async_share=self._pool.async_share.value,
        )

    def _to_explore(self, on_threads: int) -> int:
        """How many to take though jobs of one kind could not start: to find those of the other.

        What cannot start is handed back when it is overdue. So none are taken as long as some wait
        for a place, nor soon after some have waited in vain.
        """
        if not self._pool.async_share.value or self._pool.waiting:
            return 0
        if clock.monotonic() - self._pool.overdue_at < EXPLORE_AFTER_SECONDS:
            return 0
        idle_threads = self._options.threads - on_threads
        return max(idle_threads, min(self._pool.free_slots, MOST_IN_FLIGHT))

    def is_over(self, in_flight: int, *, finished: int) -> bool:
        """Whether it has taken all that it was asked to."""
        return not self._jobs_left(in_flight, finished)

    def _jobs_left(self, in_flight: int, finished: int) -> int:
        most = self._options.max_jobs
        return sys.maxsize if most is None else max(0, most - finished - in_flight)

    def job_ended(self) -> None:
        """From now on the rate limit counts; called by the thread that ran it."""
        self._next_job_at = clock.monotonic() + self._options.rate_limit_seconds

    @property
    def too_soon_seconds(self) -> float:
        """For how long the rate limit has it wait."""
        return max(0.0, self._next_job_at - clock.monotonic())

    def _share_of(self, wanted: int, in_flight: int, *, now: datetime) -> int:
        startable_now = self._of_both_kinds(self._options.threads - self._on_threads(in_flight))
        mean_seconds = self._pool.pace.mean_seconds or 0.0
        if wanted <= startable_now or mean_seconds < SHORT_SECONDS:
            return wanted
        peers = self._count_peers(now)
        if peers == 1:
            return wanted
        waiting = self._count_waiting(wanted * peers, now)
        return fair_share(wanted, idle_threads=startable_now, waiting=waiting, workers=peers)

    def _count_peers(self, now: datetime) -> int:
        """The workers that serve one of its queues, itself included."""
        if clock.monotonic() - self._peers_counted_at > PEERS_INTERVAL_SECONDS:
            heard_since = now - self._lease.length
            queues = self._engine.queues_of_workers(heard_since=heard_since)
            mine = self._options.queues
            self._peers = max(1, sum(overlap(mine, served) for served in queues))
            self._peers_counted_at = clock.monotonic()
        return self._peers

    def _count_waiting(self, enough: int, now: datetime) -> int:
        """How many jobs wait, by the newest count; when it came to `enough`, then any number."""
        began_at = clock.monotonic()
        if began_at >= self._count_waiting_at:
            count = self._engine.count_ready(self._options.queues, at_most=enough, now=now)
            self._waiting = count if count < enough else sys.maxsize
            self._count_waiting_at = ask_again_at(
                SHARE_OF_COUNTING, began_at=began_at, ended_at=clock.monotonic()
            )
        return self._waiting
