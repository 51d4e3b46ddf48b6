"""How many jobs a worker takes at a time: what it can soon start, and no more than its share."""

from __future__ import annotations

from datetime import datetime, timedelta

from django_dbq import clock
from django_dbq.engines import Engine
from django_dbq.rules.prefetch import BUFFER_SECONDS, appetite, fair_share
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.pools import ThreadPool

# Jobs shorter than this are not shared out: all that one worker takes is done before another one
# could have come for its part, and counting them would cost more than they do.
SHORT_SECONDS = 0.001
PEERS_INTERVAL_SECONDS = 1.0  # how often it counts who else is there


class Appetite:
    """Of one worker; used by its loop's thread."""

    def __init__(
        self, options: WorkerOptions, engine: Engine, pool: ThreadPool, *, lease: timedelta
    ) -> None:
        self._options, self._engine, self._pool, self._lease = options, engine, pool, lease
        self._peers = 1
        self._peers_counted_at = float("-inf")

    def wanted(self, in_flight: int) -> int:
        """How many more jobs it can soon start, with so many taken and not yet finished."""
        return appetite(
            threads=self._options.threads,
            in_flight=in_flight,
            mean_seconds=self._pool.pace.mean_seconds,
            stuck_threads=self._pool.stuck_threads(BUFFER_SECONDS),
        )

    def share_of(self, wanted: int, in_flight: int, *, now: datetime) -> int:
        """How many of these it takes, when others wait for jobs too. May ask the database."""
        idle_threads = self._options.threads - in_flight
        mean_seconds = self._pool.pace.mean_seconds or 0.0
        if wanted <= idle_threads or mean_seconds < SHORT_SECONDS:
            return wanted
        peers = self._count_peers(now)
        if peers == 1:
            return wanted
        queues = self._options.queues
        waiting = self._engine.count_ready(queues, at_most=wanted * peers, now=now)
        return fair_share(wanted, idle_threads=idle_threads, waiting=waiting, workers=peers)

    def _count_peers(self, now: datetime) -> int:
        """The workers that serve one of its queues, itself included."""
        if clock.monotonic() - self._peers_counted_at > PEERS_INTERVAL_SECONDS:
            heard_since = now - self._lease
            queues = self._engine.queues_of_workers(heard_since=heard_since)
            mine = set(self._options.queues)
            self._peers = max(1, sum(not mine.isdisjoint(served) for served in queues))
            self._peers_counted_at = clock.monotonic()
        return self._peers
