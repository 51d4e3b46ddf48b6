"""A walk over the jobs that deletes those that are over, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional
from uuid import UUID

from django.db import connections, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from django_dbq.models.attempt import Attempt

Range = tuple[UUID, Optional[UUID]]  # ids after the one and before the other

ALL_IDS: Range = (UUID(int=0), None)


class Sweep:
    """Looks at each job once, in the order of the primary key.

    So the jobs that stay, however many, are not passed again for each page of those that go. Each
    page is a short transaction of its own. A job that another transaction has locked is left to
    the next sweep, and so is a page that fails.
    """

    def __init__(
        self, jobs: QuerySet[Any], over: Q, *, ranges: Sequence[Range] = (ALL_IDS,)
    ) -> None:
        self._jobs = jobs.order_by()
        self._over = over
        self._ranges = list(ranges)

    @property
    def is_done(self) -> bool:
        return not self._ranges

    def delete_next(self, size: int) -> int:
        """Look at the next `size` jobs; returns how many of them were over and are gone."""
        after, until = self._ranges[0]
        rest = self._jobs.filter(pk__gt=after)
        page = rest if until is None else rest.filter(pk__lt=until)
        last = page.order_by("pk").values_list("pk", flat=True)[size - 1 : size].first()
        if last is None:
            del self._ranges[0]
        else:
            self._ranges[0] = (last, until)
            page = rest.filter(pk__lte=last)  # of two bounds SQLite might walk to the farther one
        ids = list(page.filter(self._over).values_list("pk", flat=True))
        return self._delete(ids) if ids else 0

    def _delete(self, ids: list[UUID]) -> int:
        """Delete those that are still over, and the stories of their attempts.

        A person may have set one of them going since it was read.
        """
        with transaction.atomic(using=self._jobs.db):
            if connections[self._jobs.db].features.has_select_for_update_skip_locked:
                over = self._jobs.filter(self._over, pk__in=ids).order_by("pk")
                locked = over.select_for_update(skip_locked=True)
                ids = list(locked.values_list("pk", flat=True))
            _, deleted = self._jobs.filter(self._over, pk__in=ids).delete()
            there = self._jobs.model._base_manager.using(self._jobs.db)
            stories = Attempt.objects.using(self._jobs.db).filter(job_id__in=ids)
            stories.exclude(Exists(there.filter(pk=OuterRef("job_id")))).delete()
        return deleted.get(self._jobs.model._meta.label, 0)
