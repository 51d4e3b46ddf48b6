"""The engine contract, and an answer to every verb that any database of Django's can give.

The portable answer is the specification: the engines of single databases do the same, better.
Everything that a worker writes to a job is fenced: it names the job's token and its held state, so
that a worker that has lost the job changes nothing, and learns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from uuid import UUID

from django.db import Error, transaction

from django_dbq.clock import database_now
from django_dbq.engines.acknowledging import Acknowledging
from django_dbq.engines.adopting import Adopting
from django_dbq.engines.awaiting import Awaiting
from django_dbq.engines.claiming import Claim, Claiming
from django_dbq.engines.doorbells import Doorbells
from django_dbq.engines.pruning import Pruning
from django_dbq.exceptions import DatabaseNotReady
from django_dbq.models import Job, WorkerProcess


class Engine(Adopting, Claiming, Acknowledging, Doorbells, Awaiting, Pruning):
    """The verbs, on one database alias. Keeps nothing that two of them would have to
    share, so that any thread may have its own.

    All times are aware and on the database's clock. Every verb raises OperationalError or
    InterfaceError when the database cannot be reached, having changed nothing or all of it. But a
    `claim` of several queues and a `rescue` may have done a part; for a claim, `hand_back_unknown`
    undoes it.
    """

    # Python's switch interval in a worker: for how long a thread that runs a task may keep the
    # interpreter when the loop's thread wants it. While a server works at a statement, the tasks'
    # threads run; when its answer has come, the loop would wait once more, for 5 ms by Python's own
    # choice. None: leave it.
    turn_seconds: float | None = 0.0005

    def get_ready(self) -> None:
        """Have the database ready for workers; raises what `require_ready` does."""
        self.require_ready()

    def require_ready(self) -> None:
        """Raise DatabaseNotReady unless the database answers and has this version's tables."""
        try:
            self.connection.ensure_connection()
        except Error as error:
            raise DatabaseNotReady(
                self.using,
                f"it cannot be reached ({error}).".replace("\n", " "),
                hint="Start it, or correct settings.DATABASES.",
            ) from error
        if not self.is_supported:
            raise DatabaseNotReady(
                self.using,
                "its server is too old.",
                hint="PostgreSQL 13, MySQL 8.0.13, MariaDB 10.6 and SQLite 3.35 are the oldest "
                "that have what a claim needs.",
            )
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT token FROM {self.table} WHERE {self.ready_in_queue} LIMIT 1",
                    {"queue": ""},
                )
            WorkerProcess.objects.using(self.using).exists()
        except Error as error:
            raise DatabaseNotReady(
                self.using,
                f"its tables are not those of this version ({error}).".replace("\n", " "),
                hint=f"Run: manage.py migrate django_dbq --database {self.using}",
            ) from error

    @property
    def is_supported(self) -> bool:
        """Whether this version of the database has what the engine's statements need."""
        return True

    def now(self) -> datetime:
        """The time on the database's clock."""
        return database_now(self._time)

    def _time(self) -> datetime:
        """What the database's clock tells; here this host's."""
        return datetime.now(timezone.utc)

    def exchange(self, succeeded: Sequence[Job], claim: Claim) -> tuple[set[UUID], list[Job]]:
        """Write down that these jobs of one worker succeeded, and claim others: with one commit.

        Returns the ids of the jobs that were no longer this caller's, and the claimed jobs.
        """

        def both() -> tuple[set[UUID], list[Job]]:
            with transaction.atomic(using=self.using):
                return self._succeed(succeeded, claim.now), self.claim(claim)

        lost, claimed = self._persistently(both)
        for job in succeeded:  # not before the commit: until then, they are held
            job.is_held_here = False
        return lost, claimed
