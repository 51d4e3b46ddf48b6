"""How a worker takes jobs: the best of each queue, and first those whose time has come."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from django_dbq.clock import as_stored, monotonic
from django_dbq.engines.queues import Queues
from django_dbq.engines.rows import ClaimedRows
from django_dbq.engines.statements import tasks_by_name
from django_dbq.models import Job
from django_dbq.rules.declarations import Known
from django_dbq.rules.heads import Heads
from django_dbq.rules.queues import EVERY_QUEUE
from django_dbq.rules.reach import Reach
from django_dbq.rules.states import WAITING, State

PROMOTED_BY_ID = 500
PROMOTED_AT_ONCE = 5_000  # rows: some tens of milliseconds, even where a million fall due together
MOST_IN_VAIN = 10  # queues that rivals have emptied; then it asks which are left
QUEUES_AT_ONCE = 100  # each is a statement or two; what comes behind them waits for the next claim

# When a worker first took a job. What is READY and does not say so has been in the hands of a 3.3
# worker, which wrote to it last at `modified`. Stands before what it looks at: MySQL computes later
# columns from those already set.
STARTED = (
    "started_at = COALESCE("
    f"started_at, CASE WHEN state = '{State.NEW.value}' THEN {{now}} ELSE modified END)"
)


@dataclass(frozen=True)
class Claim:
    """What a caller wants: up to `limit` due jobs of these queues, for this worker, as of `now`.

    EVERY_QUEUE in their place: of all that have any, those that come while it works included.

    `but` are names of jobs to leave to others, each with the task that it is about, or "" for all.

    `only`: where those are too many, the jobs to take, beside Django tasks.

    `reach` is what a caller that claims again and again keeps between its claims. With it a better
    job that came in out of order may be passed over: for twenty times as long as a look everywhere
    takes, at most 5 s.
    """

    queues: Sequence[str]
    limit: int
    worker_id: int | None
    now: datetime
    but: Collection[tuple[str, str]] = ()
    only: Known | None = None
    reach: Reach | None = None


class Claiming(Queues):
    """The verb that claims."""

    looks_along = False  # whether old snapshots slow looks down, and `Reach` helps

    @cached_property
    def _claimed_rows(self) -> ClaimedRows:
        return ClaimedRows(self.connection)

    def claim(self, claim: Claim) -> list[Job]:
        """Take the jobs, queue by queue, in each the best first.

        Best is the highest priority, then the oldest. No two callers ever get the same job. A job
        that another caller has locked is left out rather than waited for, so that fewer than
        `limit` may come back although more are due. Of every queue, those come first whose head is
        the best.
        """
        is_of_all = EVERY_QUEUE in claim.queues
        claimed = self._claim_from_all(claim) if is_of_all else self._claim_from_named(claim)
        for job in claimed:
            job.is_held_here = True
        return claimed

    def _claim_from_named(self, claim: Claim) -> list[Job]:
        claimed: list[Job] = []
        for queue in claim.queues:
            wanted = claim.limit - len(claimed)
            if wanted <= 0:
                break
            claimed += self._persistently(self._claim_from, claim, queue, wanted)
        return claimed

    def _claim_from_all(self, claim: Claim) -> list[Job]:
        heads = Heads() if claim.reach is None else claim.reach.heads
        claimed: list[Job] = []
        has_asked, queues, in_vain = False, 0, 0
        while len(claimed) < claim.limit and (not claimed or queues < QUEUES_AT_ONCE):
            # Nothing there: not to have asked is no reason to say so.
            is_needed = heads.are_old(at=monotonic()) or not (heads or claimed)
            # Once: what is in vain then, somebody has locked, and there may be others behind.
            if (is_needed or in_vain >= MOST_IN_VAIN) and not has_asked:
                self._persistently(self._ask_for_heads, claim, heads)
                has_asked = True
            if not heads:
                break
            queue, wanted = heads.take_best(), claim.limit - len(claimed)
            jobs = self._persistently(self._claim_along, claim, queue, wanted)
            if len(jobs) == wanted:
                last = jobs[-1]
                heads.go_on_behind(queue, priority=last.priority, created=last.created)
            claimed += jobs
            queues += 1
            in_vain = 0 if jobs else in_vain + 1
        return claimed

    def _ask_for_heads(self, claim: Claim, heads: Heads) -> None:
        """Learn which queues there are, once due jobs have taken their places in them."""
        reach = claim.reach
        is_asked = reach is None or reach.asks_for_due(EVERY_QUEUE, at=monotonic())
        if is_asked:
            self._promote_everywhere(claim)
        began_at = monotonic()  # not before: to promote is no question, but work
        found = self.heads(now=claim.now, but=claim.but, only=claim.only)
        if not found and not is_asked and self._promote_everywhere(claim):
            found = self.heads(now=claim.now, but=claim.but, only=claim.only)
        heads.learn(found, began_at=began_at, ended_at=monotonic())

    def _claim_from(self, claim: Claim, queue: str, limit: int) -> list[Job]:
        reach = claim.reach
        is_asked = reach is None or reach.asks_for_due(queue, at=monotonic())
        if is_asked:
            self._promote(claim, queue)
        jobs = self._claim_along(claim, queue, limit)
        # Nothing there: not to have asked is no reason to say so.
        if not jobs and not is_asked and self._promote(claim, queue):
            jobs = self._claim_along(claim, queue, limit)
        return jobs

    def _claim_along(self, claim: Claim, queue: str, limit: int) -> list[Job]:
        """Claim the best, where it is quick along the queue; everywhere, if there is none."""
        reach = claim.reach
        if reach is None or not self.looks_along:
            return self._claim_best(claim, queue, limit, {})
        began_at = monotonic()
        begins = reach.begins(queue, at=began_at)
        if begins:
            jobs = self._claim_best(claim, queue, limit, begins)
            if jobs:
                reach.found(queue, jobs)
                return jobs
        jobs = self._claim_best(claim, queue, limit, {})
        reach.looked_everywhere(queue, jobs, began_at=began_at, ended_at=monotonic())
        return jobs

    def _claim_best(
        self, claim: Claim, queue: str, limit: int, begins: Mapping[int, datetime]
    ) -> list[Job]:
        """Claim the best, looking only from these `created` on, by priority; empty: everywhere."""
        with transaction.atomic(using=self.using, savepoint=False):
            jobs = self._lock_best(claim, queue, limit, begins)
            if jobs:
                self._mark_claimed(jobs, claim)
        return jobs

    def _lock_best(
        self, claim: Claim, queue: str, limit: int, begins: Mapping[int, datetime]
    ) -> list[Job]:
        best = self.jobs.filter(queue_name=queue, state__in=WAITING, gate__isnull=True)
        best = best.due(as_stored(claim.now)).order_by("-priority", "created")
        best = best.exclude(name__in=[name for name, task in claim.but if not task])
        for name, tasks in tasks_by_name(claim.but).items():
            best = best.exclude(name=name, next_task__in=tasks)
        if claim.only:
            known = Q(name__in=claim.only.names, next_task__in=claim.only.tasks)
            best = best.filter(known | Q(backend__isnull=False))
        features = self.connection.features
        if features.has_select_for_update:
            skip = features.has_select_for_update_skip_locked
            best = best.select_for_update(skip_locked=skip)
        return list(best[:limit])

    def _mark_claimed(self, jobs: list[Job], claim: Claim) -> None:
        moment = as_stored(claim.now)
        self.jobs.filter(pk__in=[job.pk for job in jobs]).update(
            started_at=Coalesce(  # see STARTED
                "started_at", Case(When(state=State.NEW, then=Value(moment)), default="modified")
            ),
            state=State.PROCESSING,
            token=F("token") + 1,
            attempts=F("attempts") + 1,
            worker_id=claim.worker_id,
            last_attempted_at=moment,
            finished_at=None,
            modified=moment,
        )
        for job in jobs:
            job.started_at = job.started_at or (moment if job.state == State.NEW else job.modified)
            job.state = State.PROCESSING
            job.token += 1
            job.attempts += 1
            job.worker_id = claim.worker_id
            job.last_attempted_at = moment
            job.finished_at = None
            job.modified = moment

    def _promote(self, claim: Claim, queue: str) -> bool:
        """Move jobs whose time has come from the index of scheduled jobs to that of ready ones.

        So a due job takes its place by priority and age, and one that is not yet due costs a claim
        nothing. The question comes first because it takes no lock. Returns whether any were due.
        """
        parameters, began_at = [queue, self._as_parameter(claim.now)], monotonic()
        with self.connection.cursor() as cursor:
            # Ordered, and so from the index whatever the statistics say: see
            # `Doorbells._look_statement`.
            cursor.execute(
                f"SELECT 1 FROM {self.table} WHERE {self.scheduled_in_queue} "
                "AND run_after <= %s ORDER BY run_after LIMIT 1",
                parameters,
            )
            some_are_due = cursor.fetchone() is not None
        if some_are_due:
            self._promote_due(parameters)
        elif claim.reach is not None:
            claim.reach.asked_for_due(queue, began_at=began_at, ended_at=monotonic())
        return some_are_due

    def _promote_everywhere(self, claim: Claim) -> bool:
        """The same in all queues; in a bounded number of them, those first that are longest due."""
        now, began_at = self._as_parameter(claim.now), monotonic()
        due = [queue for moment, queue in self.soonest() if moment <= claim.now]
        if due:
            promoted = 0
            with transaction.atomic(using=self.using, savepoint=False):
                for queue in due[:QUEUES_AT_ONCE]:
                    if promoted < PROMOTED_AT_ONCE:
                        promoted += self._promote_due([queue, now])
        elif claim.reach is not None:
            claim.reach.asked_for_due(EVERY_QUEUE, began_at=began_at, ended_at=monotonic())
        return bool(due)

    def _promote_due(self, parameters: list[Any]) -> int:
        """Given the queue and the time, promote the longest due, a bounded number of them.

        Returns how many there were.
        """
        # Two statements: MariaDB's UPDATE would wait for a row that a rival has locked.
        with transaction.atomic(using=self.using):
            due = self._ids(
                f"{self.scheduled_in_queue} AND run_after <= %s "
                f"ORDER BY run_after LIMIT {PROMOTED_BY_ID} {self.lock_rows}",
                parameters,
            )
            return self.jobs.filter(pk__in=due).update(is_due=True)
