"""Finished jobs that have been kept for long enough."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q

from django_dbq.clock import as_stored
from django_dbq.engines.statements import Statements
from django_dbq.models.sweep import ALL_IDS, Sweep
from django_dbq.rules.identifiers import first_id_of
from django_dbq.rules.retention import Limit, Pace, limits, youngest_that_is_over
from django_dbq.settings import Retention

IDS_AHEAD_AT_MOST = timedelta(days=1)  # hosts make them by their own clocks


class Pruning(Statements):
    """The verb that deletes jobs by their age."""

    # Nobody waits for a page; but it takes processor and disk from the claims beside it.
    prune_pace = Pace(page_seconds=0.1, share=0.2)

    def sweep(self, retention: Retention, *, now: datetime) -> Sweep:
        """A sweep over the jobs that are over by now.

        It passes by the ids that were made since the youngest of these began, so that jobs that
        are too young cost nothing, wait they or are they finished.
        """
        ranges = [ALL_IDS]
        if self.ids_follow_time:
            first, end = ALL_IDS
            youngest = first_id_of(youngest_that_is_over(retention, now))
            ranges = [(first, youngest), (first_id_of(now + IDS_AHEAD_AT_MOST), end)]
        return Sweep(self.jobs, _any_of(limits(retention, now)), ranges=ranges)

    @property
    def ids_follow_time(self) -> bool:
        """Whether the database sorts the ids of `uuid7()` by when they were made."""
        return True


def _any_of(limits: Iterable[Limit]) -> Q:
    over = Q(pk__in=[])
    for limit in limits:
        over |= _condition(limit)
    return over


def _condition(limit: Limit) -> Q:
    moment = as_stored(limit.finished_by)
    # 3.3 writes no `finished_at`.
    finished = Q(finished_at__lte=moment) | Q(finished_at__isnull=True, modified__lte=moment)
    named = Q(name__in=sorted(limit.names))
    if limit.are_the_others_meant:
        named = ~named if limit.names else Q()
    return Q(state=limit.state) & named & finished
