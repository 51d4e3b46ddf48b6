"""How what became of jobs is written down: alike outcomes by one statement, and their stories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from django_dbq.clock import as_stored
from django_dbq.engines.holders import Holders
from django_dbq.engines.statements import ids_by_token, is_held_by
from django_dbq.models import Attempt, Job
from django_dbq.models.arrivals import announce_all, is_soon
from django_dbq.models.workspace import as_json
from django_dbq.rules.outcomes import SUCCESS, Outcome
from django_dbq.rules.states import State

JSON_COLUMNS = ("workspace", "result")  # whose values differ from job to job


class Acknowledging(Holders):
    """The verb that writes outcomes down."""

    def acknowledge(
        self, finished: Sequence[tuple[Job, Outcome]], *, now: datetime, worker: str = ""
    ) -> set[UUID]:
        """Write the outcomes of attempts down, all in one transaction.

        Returns the ids of the jobs that were no longer this caller's: nothing was written for them.
        Sending the same outcomes again after a commit whose fate is unknown is safe.
        """
        lost = self._persistently(self._acknowledge, finished, now, worker)
        for job, _ in finished:
            job.is_held_here = False
        return lost

    def _acknowledge(
        self, finished: Sequence[tuple[Job, Outcome]], now: datetime, worker: str
    ) -> set[UUID]:
        groups = list(_alike(finished, now))
        nothing_failed = not any(outcome.story for _, outcome in finished)
        if len(groups) == 1 and nothing_failed and self._is_one_statement(groups[0]):
            return self._write(groups[0], now)  # which needs no transaction around it
        with transaction.atomic(using=self.using, savepoint=False):
            lost = set().union(*(self._write(alike, now) for alike in groups))
            self._keep_stories(finished, lost, worker)
        return lost

    def _succeed(self, jobs: Sequence[Job], now: datetime) -> set[UUID]:
        """As `_acknowledge`, in the caller's transaction and for jobs of one worker."""
        return self._write(_Alike(SUCCESS.values(now), list(jobs), {}), now)

    def _is_one_statement(self, alike: _Alike) -> bool:
        return not alike.texts and len(ids_by_token(alike.jobs)) == 1

    def _write(self, alike: _Alike, now: datetime) -> set[UUID]:
        moment = as_stored(now)
        values = {**alike.values, "modified": moment}
        if values["state"] == State.READY:
            values["worker_id"] = None
        else:
            values["finished_at"] = moment
        if "run_after" in values:
            values["is_due"] = None
            values["run_after"] = values["run_after"] and as_stored(values["run_after"])
        are_all_written = self._update_held(values, alike.jobs, alike.texts) == len(alike.jobs)
        lost = set() if are_all_written else self._lost(alike.jobs, values["state"])
        if values["state"] == State.READY and is_soon(alike.values.get("run_after")):
            again = (job.queue_name for job in alike.jobs if job.pk not in lost)
            announce_all(again, using=self.using)
        return lost

    def _update_held(
        self, values: dict[str, Any], jobs: Sequence[Job], texts: Mapping[str, Sequence[str]]
    ) -> int:
        """Set these values, and each its texts, where the jobs are still held; how many were.

        The jobs are of one worker: see `_still_held`. `texts` are JSON, by column, one for each
        job.
        """
        if not texts:
            have_one_token = len({job.token for job in jobs}) == 1
            update = self._update_at_once if have_one_token else self._update_by_tokens
            return update(values, jobs)
        columns, parameters = self._assignments(values)
        columns = ", ".join([columns, *(f"{column} = %s" for column in texts)])
        statement = (
            f"UPDATE {self.table} SET {columns} "
            f"WHERE id = %s AND token = %s AND {is_held_by(jobs[0].worker_id)}"
        )
        with self.connection.cursor() as cursor:
            cursor.executemany(
                statement,
                [
                    [*parameters, *own, self._id_as_parameter(job), job.token]
                    for job, *own in zip(jobs, *texts.values())
                ],
            )
            return int(cursor.rowcount)

    def _update_by_tokens(self, values: dict[str, Any], jobs: Sequence[Job]) -> int:
        return sum(held.update(**values) for held in self._still_held(jobs))

    def _update_at_once(self, values: dict[str, Any], jobs: Sequence[Job]) -> int:
        """The same of jobs that have one token, as most batches have: by one statement."""
        return self._update_by_tokens(values, jobs)

    def _lost(self, jobs: Iterable[Job], state: State) -> set[UUID]:
        """Those of the jobs that were not ours to write.

        Not lost is what was written before, by a commit whose answer never came: it has our token,
        and the state that the outcome gives.
        """
        lost: set[UUID] = set()
        for token, ids in ids_by_token(jobs).items():
            ours = self.jobs.filter(pk__in=ids, token=token, state=state)
            lost.update(set(ids).difference(ours.values_list("pk", flat=True)))
        return lost

    def _keep_stories(
        self, finished: Iterable[tuple[Job, Outcome]], lost: set[UUID], worker: str
    ) -> None:
        stories = [
            Attempt(
                job_id=job.pk,
                job_name=str(job.name)[:255],
                task=story.task[:255],
                number=story.number,
                exception=story.exception[:255],
                message=story.message,
                traceback=story.traceback,
                worker=worker[:255],
                worker_id=job.worker_id,
                started_at=as_stored(story.started_at),
                finished_at=as_stored(story.finished_at),
            )
            for job, outcome in finished
            for story in [outcome.story]
            if story and job.pk not in lost
        ]
        if stories:
            attempts = Attempt.objects.using(self.using)
            kept = attempts.filter(job_id__in=[each.job_id for each in stories])
            told = set(kept.values_list("job_id", "started_at"))
            attempts.bulk_create(
                [each for each in stories if (each.job_id, each.started_at) not in told]
            )


@dataclass
class _Alike:
    """Jobs whose outcomes set the same values, but for what is JSON."""

    values: dict[str, Any]
    jobs: list[Job]
    texts: dict[str, list[str]]


def _alike(finished: Iterable[tuple[Job, Outcome]], now: datetime) -> Iterable[_Alike]:
    """Most of a batch sets the same values, and is written by one statement."""
    groups: dict[Any, _Alike] = {}
    succeeded: dict[int | None, _Alike] = {}
    for job, outcome in finished:
        if outcome is SUCCESS and job.worker_id in succeeded:
            succeeded[job.worker_id].jobs.append(job)
            continue
        values = outcome.values(now)
        texts = {name: as_json(values.pop(name)) for name in JSON_COLUMNS if name in values}
        key = (job.worker_id, *texts, *values.items())
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Alike(values, [], {name: [] for name in texts})
        if outcome is SUCCESS:
            succeeded[job.worker_id] = group
        group.jobs.append(job)
        for name, text in texts.items():
            group.texts[name].append(text)
    return groups.values()
