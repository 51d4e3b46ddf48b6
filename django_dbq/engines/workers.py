"""Workers: their rows, and which of them are alive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from django_dbq.clock import as_stored
from django_dbq.engines.sessions import Sessions
from django_dbq.models import WorkerProcess


class Workers(Sessions):
    """The verbs about who works."""

    def register(
        self,
        *,
        hostname: str,
        pid: int,
        queues: Sequence[str],
        threads: int,
        now: datetime,
    ) -> WorkerProcess:
        """Make a worker known; its row's id is the owner of what it will claim."""
        moment = as_stored(now)
        return self._workers.create(
            hostname=hostname[:255],
            pid=pid,
            queues=list(queues),
            threads=threads,
            started_at=moment,
            last_seen=moment,
        )

    def heartbeat(self, worker_ids: Collection[int], *, now: datetime) -> set[int]:
        """Say that these workers live; returns those that have been taken for dead already."""
        workers = self._workers.filter(pk__in=worker_ids)
        if workers.update(last_seen=as_stored(now)) == len(worker_ids):
            return set()
        return set(worker_ids).difference(workers.values_list("pk", flat=True))

    def deregister(self, worker_id: int) -> None:
        """Forget a worker that holds nothing any more."""
        self._workers.filter(pk=worker_id).delete()

    def last_heartbeats(self) -> dict[int, datetime]:
        """When each worker was last heard, as it is stored."""
        return dict(self._workers.values_list("pk", "last_seen"))

    def silent_workers(self, *, since: datetime) -> list[int]:
        """The workers that have sent no heartbeat since then."""
        silent = self._workers.silent_since(since)
        return list(silent.values_list("pk", flat=True))

    def eldest_worker(self, *, heard_since: datetime) -> int | None:
        """Of the workers that have sent a heartbeat since then, the first that was registered."""
        heard = self._workers.heard_since(heard_since)
        return heard.order_by("pk").values_list("pk", flat=True).first()

    def queues_of_workers(self, *, heard_since: datetime) -> list[list[str]]:
        """For each worker that has sent a heartbeat since then, the queues that it serves."""
        heard = self._workers.heard_since(heard_since)
        return list(heard.values_list("queues", flat=True))

    def vanished_workers(self) -> list[int]:
        """Workers that are not registered any more and hold jobs all the same.

        One that was frozen just as it claimed: others buried it, and then the claim arrived.
        """
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT DISTINCT worker_id FROM {self.table} WHERE {self.held_by_somebody} "
                f"AND worker_id NOT IN (SELECT id FROM {self._workers_table})"
            )
            return [row[0] for row in cursor.fetchall()]
