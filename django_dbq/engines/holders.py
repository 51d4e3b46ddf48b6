"""Who holds jobs: the living who may give them back, the dead whose jobs go back, or nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import Error, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When

from django_dbq.clock import as_stored
from django_dbq.engines.statements import ids_by_token, is_held_by
from django_dbq.engines.workers import Workers
from django_dbq.exceptions import JobTimeout, WorkerDied
from django_dbq.models import Attempt, Job
from django_dbq.models.arrivals import announce_all
from django_dbq.rules.deaths import Death, Verdict
from django_dbq.rules.outcomes import path_of
from django_dbq.rules.states import HELD, State

RESCUED_AT_ONCE = 500


class Holders(Workers):
    """The verbs about jobs in somebody's hands, but for writing down what became of them."""

    def locked_by_others(self, jobs: Iterable[Job]) -> set[UUID]:
        """Those of the jobs whose rows somebody else has locked, at this moment."""
        if not self.connection.features.has_select_for_update_skip_locked:
            return set()
        ids = [job.pk for job in jobs]
        rows = self.jobs.filter(pk__in=ids)
        with transaction.atomic(using=self.using):
            # As an UPDATE locks them: foreign keys that point to a row are in nobody's way.
            no_key = self.connection.features.has_select_for_no_key_update
            free = rows.select_for_update(skip_locked=True, no_key=no_key)
            others = set(ids).difference(free.values_list("pk", flat=True))
            # What is deleted is nobody's any more.
            return set(rows.filter(pk__in=others).values_list("pk", flat=True)) if others else set()

    def mark_stopping(self, jobs: Collection[Job], *, now: datetime) -> None:
        """Show on running jobs that their worker has been asked to exit.

        For people to see; so a row that somebody has locked is left as it is.
        """
        # Without locks at first: a worker that stops asks this again and again.
        running: set[UUID] = set()
        for rows in self._still_held(jobs):
            running.update(rows.filter(state=State.PROCESSING).values_list("pk", flat=True))
        if running:
            running -= self.locked_by_others([job for job in jobs if job.pk in running])
        for rows in self._still_held([job for job in jobs if job.pk in running]):
            rows.filter(state=State.PROCESSING).update(
                state=State.STOPPING, modified=as_stored(now)
            )

    def cancel_requests(self, jobs: Collection[Job]) -> list[UUID]:
        """Which of these jobs of one worker, if it still has them, somebody has called off."""
        if not jobs:
            return []
        ids = [self._id_as_parameter(job) for job in jobs]
        return self._ids(
            f"id IN ({', '.join(['%s'] * len(ids))}) AND cancel_requested_at IS NOT NULL "
            f"AND {is_held_by(next(iter(jobs)).worker_id)}",
            ids,
        )

    def hand_back(self, jobs: Collection[Job], *, now: datetime, are_started: bool = False) -> int:
        """Give jobs back; it costs them no attempt, and they keep their place in the queue.

        Those that have not `are_started`, and of which nothing ran before, are as good as new.
        """
        return self._persistently(self._hand_back, jobs, now, are_started)

    def _hand_back(self, jobs: Collection[Job], now: datetime, are_started: bool) -> int:
        with transaction.atomic(using=self.using):
            announce_all((job.queue_name for job in jobs), using=self.using)
            return sum(
                self._release(held, now, may_be_new=not are_started)
                for held in self._still_held(jobs)
            )

    def _still_held(self, jobs: Collection[Job]) -> Iterator[QuerySet[Job]]:
        """The rows of these jobs, token by token, where their worker has not lost them: the fence.

        The jobs are of one worker. It is part of the fence because a 3.3 worker claims without
        touching the token: what of ours is sent again must not pass for its.
        """
        for token, ids in ids_by_token(jobs).items():
            holder = next(iter(jobs)).worker_id
            yield self.jobs.filter(pk__in=ids, token=token, worker_id=holder, state__in=HELD)

    def hand_back_unknown(self, worker_id: int, *, known: Collection[UUID], now: datetime) -> int:
        """Give back what a living worker holds without knowing: a claim whose answer was lost."""
        # Without locks: it asks often, nearly always in vain, and the fence sees what has changed.
        held = self._ids(self.held_by_worker, [worker_id])
        unknown = [pk for pk in held if pk not in known]
        jobs = self._read(unknown, worker_id)
        if not jobs:
            return 0
        try:
            return self.hand_back(jobs, now=now)
        except Error as error:
            if not self.is_lock_timeout(error):
                raise
        locked = self.locked_by_others(jobs)  # it is left to the next time
        return self.hand_back([job for job in jobs if job.pk not in locked], now=now)

    def _read(self, ids: Collection[UUID], worker_id: int) -> list[Job]:
        """Those of the jobs that this worker holds."""
        # Without what SQL may have made such that Python cannot read it: a time that it does not
        # have, a number of five thousand digits.
        held = self.jobs.filter(pk__in=ids, worker_id=worker_id)
        rows = held.defer("run_after", "workspace", "result")
        return list(rows) if ids else []

    def _release(
        self,
        jobs: QuerySet[Job],
        now: datetime,
        *,
        may_be_new: bool = True,
        attempts_given_back: int = 1,
        **changes: Any,
    ) -> int:
        # `started_at` is the time of the first claim, `modified` that of the last one.
        first_claim = Q(attempts=1, task_index=0, crashes=0, started_at=F("modified"))
        untouched = first_claim if may_be_new else Q(pk=None)
        return jobs.filter(state__in=HELD).update(
            # Before `attempts`: MySQL computes later columns from those already set.
            state=Case(
                When(untouched, then=Value(State.NEW.value)), default=Value(State.READY.value)
            ),
            started_at=Case(When(untouched, then=Value(None)), default=F("started_at")),
            attempts=F("attempts") - attempts_given_back,
            worker_id=None,
            # What a former holder still sends is fenced out now, not only after the next claim: to
            # it, a row that is READY under its own token would be one that it had written itself.
            token=F("token") + 1,
            modified=as_stored(now),
            **changes,
        )

    def rescue(self, worker_id: int, death: Death, *, now: datetime) -> int:
        """Give back all that a dead worker holds, and forget the worker; returns how many jobs.

        It costs them no attempt. A job whose task ran when the worker crashed is charged a crash,
        and one for which the worker was killed is marked so; both have their story kept. From here
        on whatever that worker still sends is fenced out. Jobs without an owner are never touched:
        a 3.3 worker may be running them.
        """
        threads = self._workers.filter(pk=worker_id).values_list("threads", flat=True).first() or 1
        # Without locks: those of another rescuer would hide the jobs, and nobody would be blamed.
        held = self._ids(f"{self.held_by_worker} LIMIT {threads + 1}", [worker_id])
        running = death.knowing(held, threads=threads)
        rescued = 0
        while True:
            batch = self._persistently(self._rescue_batch, worker_id, death, running, now)
            rescued += batch
            if batch < RESCUED_AT_ONCE:
                break
        self.deregister(worker_id)
        return rescued

    def _rescue_batch(
        self, worker_id: int, death: Death, running: Collection[UUID], now: datetime
    ) -> int:
        with transaction.atomic(using=self.using):
            self._begin_to_write()
            # By locks: another rescuer's jobs are stepped over.
            ids = self._ids(
                f"{self.held_by_worker} LIMIT {RESCUED_AT_ONCE} {self.lock_rows}", [worker_id]
            )
            jobs = self._read(ids, worker_id)
            announce_all((job.queue_name for job in jobs), using=self.using)
            by_verdict: dict[Verdict, list[Job]] = {verdict: [] for verdict in Verdict}
            for job in jobs:
                by_verdict[death.verdict(job.pk, job.state, running)].append(job)
            self._keep_deaths(by_verdict[Verdict.CRASH], death, WorkerDied, now)
            self._keep_deaths(by_verdict[Verdict.OVERRAN], death, JobTimeout, now)
            changes: dict[Verdict, dict[str, Any]] = {
                Verdict.CRASH: {"crashes": F("crashes") + 1},
                Verdict.OVERRAN: {"killed_at": as_stored(now)},
            }
            return sum(
                self._release(
                    self.jobs.filter(pk__in=[job.pk for job in alike], worker_id=worker_id),
                    now,
                    may_be_new=verdict is Verdict.HAND_BACK,
                    **changes.get(verdict, {}),
                )
                for verdict, alike in by_verdict.items()
            )

    def _keep_deaths(self, jobs: list[Job], death: Death, what: type, now: datetime) -> None:
        """Keep the story of attempts whose own process cannot tell it any more."""
        Attempt.objects.using(self.using).bulk_create(
            Attempt(
                job_id=job.pk,
                job_name=job.name,
                task=job.next_task,
                number=job.attempts,
                exception=path_of(what),
                message=f"The worker process ended while it ran this task: {death.cause}",
                worker=death.worker[:255],
                worker_id=job.worker_id,
                started_at=job.modified,  # when it was claimed
                finished_at=as_stored(now),
            )
            for job in jobs
        )

    def orphans(self) -> list[UUID]:
        """Held jobs without an owner: a 3.3 worker is running them, or died doing it."""
        return self._ids(self.held_by_nobody, [])

    def requeue_orphans(self, ids: Collection[UUID], *, now: datetime) -> int:
        """Give back jobs without an owner, on a person's word that nobody runs them."""
        orphans = self.jobs.filter(pk__in=ids, worker_id__isnull=True)
        return self._release(orphans, now, may_be_new=False, attempts_given_back=0)
