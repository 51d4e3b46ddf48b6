"""The job: a row, what 3.3's users know of it, and the way it gets into the table."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import OperationalError, connections, models, router, transaction
from django.utils import timezone

from django_dbq import settings as dbq_settings
from django_dbq.clock import as_stored, aware_now, monotonic
from django_dbq.exceptions import (
    AlreadyEnqueued,
    InvalidDeclaration,
    InvalidJob,
    JobNotDeclared,
    LeaseLost,
)
from django_dbq.models.arrivals import announce, announce_all, is_soon
from django_dbq.models.indexes import HeldIndex, ReadyIndex, ScheduledIndex, UniqueIndex
from django_dbq.models.sweep import Sweep
from django_dbq.models.unique import HasUniqueKey, insert_the_only_one, require_only_one
from django_dbq.models.unsaid import UnsaidNumber, UnsaidText
from django_dbq.models.worker import WorkerProcess
from django_dbq.models.workspace import WorkspaceField, workspace_as_json
from django_dbq.rules.callables import function_at, task_at
from django_dbq.rules.declarations import JobDeclaration, declaration_of
from django_dbq.rules.django_tasks import declaration_at
from django_dbq.rules.identifiers import uuid7
from django_dbq.rules.options import LONGEST_NAME, LONGEST_PATH, LONGEST_QUEUE_NAME
from django_dbq.rules.states import FINAL, HELD, WAITING, State
from django_dbq.rules.storable import WHY_UNSTORABLE

logger = logging.getLogger(__name__)

DEFAULT_DELETE_JOBS_AFTER_HOURS = 24
DELETED_AT_ONCE = 1_000  # rows at most in one transaction, so that others are not held up for long
CLOCKS_DIFFER_AT_MOST = timedelta(minutes=5)
CALLERS_CHOICE = ("force_insert", "force_update", "using", "update_fields")  # of save(), in order

# What only workers write. A `save()` elsewhere leaves these alone: an instance that was read before
# a worker claimed the row would otherwise write back an older token, and the fence would be down.
WRITTEN_BY_WORKERS = frozenset(
    {
        "token",
        "attempts",
        "crashes",
        "worker_id",
        "started_at",
        "last_attempted_at",
        "finished_at",
        "result",
        "is_due",
        "cancel_requested_at",
        "cancel_reason",
        "killed_at",
        "unique_key",
    }
)

# And these, while a worker has the job: a `save()` after the last task would empty `next_task`
# before the outcome is written; should the worker die between the two, all tasks would run again.
WRITTEN_WITH_THE_OUTCOME = frozenset({"state", "next_task", "task_index"})


class JobQuerySet(models.QuerySet["Job"]):
    def due(self, moment: datetime) -> JobQuerySet:
        """Jobs whose `run_after` is not ahead of `moment`."""
        return self.filter(models.Q(run_after__isnull=True) | models.Q(run_after__lte=moment))

    def to_process(self, queue_name: str) -> JobQuerySet:
        """The jobs of a queue that may run now, best first, locked when evaluated.

        Where the database locks rows, evaluate it in a transaction; a job that another
        transaction has locked is left out.
        """
        features = connections[self.db].features
        locked = self.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
        return locked.filter(queue_name=queue_name, state__in=WAITING, gate__isnull=True).due(
            timezone.now()
        )

    def get_ready_or_none(self, queue_name: str, max_retries: int = 3) -> Job | None:
        """The next due job of a queue, locked for the caller's transaction, or None.

        Tries again up to `max_retries` times after a deadlock or a lock that did not come.
        """
        for tries_left in range(max_retries, 0, -1):
            try:
                return self.to_process(queue_name).first()
            except OperationalError as error:
                logger.warning(
                    "No job could be taken from queue %r (%s); trying again, %d tries left.",
                    queue_name,
                    error,
                    tries_left,
                )
        return self.to_process(queue_name).first()

    def create(self, **kwargs: Any) -> Job:
        """Enqueue a job. A `unique` one is enqueued unless there is one; then returns that.

        Raises what `Job.save` does.
        """
        self._for_write = True
        return self.model(**kwargs).save_or_find(force_insert=True, using=self.db)

    def bulk_create(self, objs: Iterable[Job], *args: Any, **kwargs: Any) -> list[Job]:
        """Enqueue many jobs in as few statements as the database allows.

        Creation hooks run, for each job and before anything is written. A job whose `next_task`
        was filled in by hand is taken as it is, without its hook, as in 3.3. Where a `unique` job
        is there already, nothing is written, and the database says so by an IntegrityError; with
        `ignore_conflicts=True` that job alone is left out.
        """
        self._for_write = True  # what is asked before is asked there, too
        jobs = []
        for job in objs:
            if job.next_task:
                job._take_as_it_is()
            elif not job._make_ready_to_insert():
                continue
            jobs.append(job)
        largest = dbq_settings.max_payload_bytes()
        for job in jobs:
            job.workspace = {} if job.workspace is None else job.workspace
            job.require_storable(largest)
        if kwargs.get("ignore_conflicts"):
            jobs = self._without_those_that_are_there(jobs)
        created = super().bulk_create(jobs, *args, **kwargs)
        announce_all((job.queue_name for job in jobs if job.is_news), using=self.db)
        return created

    def _without_those_that_are_there(self, jobs: list[Job]) -> list[Job]:
        """Leave out those that are unique, and of whose key another one waits or runs."""
        keys = {job.unique_key for job in jobs} - {None}
        there = self.filter(HasUniqueKey(*keys)).values_list("unique_key", flat=True)
        known = set(there) if keys else set()
        return [job for job in jobs if job.unique_key not in known]

    def cancel(self, reason: str = "") -> int:
        """Call off these jobs: those that wait at once; workers of the others are asked to.

        Returns how many jobs of both kinds there were; final ones are left alone. No hook runs.
        """
        moment = as_stored(aware_now())
        jobs = self.order_by()
        asked = {"cancel_requested_at": moment, "cancel_reason": reason}
        cancelled = {
            "state": State.CANCELLED,
            "token": models.F("token") + 1,
            "finished_at": moment,
            "modified": moment,
            **asked,
        }
        held = jobs.filter(state__in=HELD, cancel_requested_at__isnull=True)
        waiting = jobs.filter(state__in=WAITING, cancel_requested_at__isnull=True)
        given_back = jobs.filter(state__in=WAITING, cancel_requested_at__isnull=False)
        count = waiting.update(**cancelled) + held.update(**asked)
        # Workers may have given some back in between: of those that were asked, which are counted,
        # and of those that were held at the first look and waited at the second.
        given_back.update(**cancelled)
        return count + waiting.update(**cancelled)

    def sweep(self, created_before: datetime) -> Sweep:
        """A sweep over finished jobs of that age, and over those of vanished workers that were
        asked to stop."""
        # Also what it reads is read where it deletes: a replica may lag, and locks nothing.
        jobs = self.using(self.select_for_update().db)
        lease = dbq_settings.current().lease
        # Allowing for this host's clock, which is not the database's: deleting can wait.
        silent_since = aware_now() - lease - CLOCKS_DIFFER_AT_MOST
        workers = WorkerProcess.objects.using(jobs.db).heard_since(silent_since)
        living = list(workers.values_list("pk", flat=True))
        ownerless = models.Q(worker_id__isnull=True) | ~models.Q(worker_id__in=living)
        abandoned = models.Q(state=State.STOPPING) & ownerless
        finished = models.Q(state__in=FINAL)
        return Sweep(jobs, (finished | abandoned) & models.Q(created__lte=created_before))

    def delete_old(self, hours: float | None = None) -> None:
        """Delete finished jobs that were created more than `hours` (24 by default) ago.

        STOPPING jobs that no live worker holds go too; waiting and running ones stay.
        """
        age = timedelta(hours=DEFAULT_DELETE_JOBS_AFTER_HOURS if hours is None else hours)
        created_before = timezone.now() - age
        logger.info("Deleting finished jobs created before %s", created_before.isoformat())
        sweep = self.sweep(created_before)
        while not sweep.is_done:
            sweep.delete_next(DELETED_AT_ONCE)


class Job(models.Model):
    """One piece of work with a list of tasks, run in order by any worker of its queue.

    Creating the row enqueues the job: `Job.objects.create(name="my_job")`.
    """

    STATES = State

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created = models.DateTimeField(auto_now_add=True)
    modified = models.DateTimeField(auto_now=True)
    name = models.CharField(max_length=LONGEST_NAME)
    state = models.CharField(max_length=20, choices=State.choices, default=State.NEW)
    next_task = models.CharField(max_length=LONGEST_PATH, blank=True)
    workspace = WorkspaceField(null=True)
    queue_name = models.CharField(max_length=LONGEST_QUEUE_NAME, default=UnsaidText("default"))
    priority = models.SmallIntegerField(default=UnsaidNumber(0))
    run_after = models.DateTimeField(null=True)

    task_index = models.SmallIntegerField(
        null=True, help_text="The place of next_task in the job's list of tasks."
    )
    token = models.IntegerField(
        default=0, help_text="Grows with each claim and release; each write of a held job names it."
    )
    attempts = models.IntegerField(default=0, help_text="Tries at the current task so far.")
    crashes = models.IntegerField(
        default=0, help_text="How many workers died while they ran this job."
    )
    worker_id = models.BigIntegerField(null=True, help_text="The worker that holds or held it.")
    started_at = models.DateTimeField(null=True, help_text="When a worker first took it.")
    last_attempted_at = models.DateTimeField(null=True, help_text="When a worker last took it.")
    finished_at = models.DateTimeField(null=True)
    is_due = models.BooleanField(
        null=True, help_text="True once a worker has seen run_after pass; empty before."
    )
    cancel_requested_at = models.DateTimeField(
        null=True, help_text="When somebody cancelled it while a worker held it."
    )
    cancel_reason = models.TextField(null=True)  # noqa: DJ001 (NULL: it was not cancelled)
    killed_at = models.DateTimeField(
        null=True, help_text="When its worker was killed because the task overran its timeout."
    )
    backend = models.CharField(  # noqa: DJ001 (NULL: a job of settings.JOBS)
        max_length=60,
        null=True,
        help_text="The alias in settings.TASKS of a Django task; empty for a job of JOBS.",
    )
    result = models.JSONField(null=True, help_text="What its last task has returned.")
    unique_key = models.CharField(  # noqa: DJ001 (NULL: it is not unique)
        max_length=64,
        null=True,
        help_text="No two jobs that have not ended have the same; empty: not unique.",
    )
    gate = models.SmallIntegerField(
        null=True, help_text="Why the job may not run yet; empty when nothing is in its way."
    )
    # Reserved, as `gate` is: nothing sets them yet.
    concurrency_key = models.CharField(max_length=100, null=True)  # noqa: DJ001 (NULL: no key)
    group_id = models.UUIDField(null=True)

    objects = models.Manager.from_queryset(JobQuerySet)()

    # True on an instance that this process has claimed and not yet acknowledged.
    is_held_here = False
    # The workspace, as text, that a task or hook has written by `save()`: a checkpoint.
    saved_workspace: str | None = None
    # The workspace, as text, as a claim has found it; None on an instance that came another way.
    workspace_in_row: str | None = None

    _looked_at = float("-inf")  # when `cancel_requested` last asked

    class Meta:
        ordering = ["-priority", "created"]
        indexes = [
            ReadyIndex(name="dbq_ready"),
            ScheduledIndex(name="dbq_scheduled"),
            HeldIndex(name="dbq_held"),
            UniqueIndex(name="dbq_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pk}, {self.state})"

    # Into the table

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the job, which enqueues it, or write what was changed.

        A first save fills `next_task` and `workspace` and runs the creation hook. A later one
        leaves alone what only workers write. In the hands of a worker that has lost the job it
        raises LeaseLost and writes nothing.

        Raises:
            JobNotDeclared: (a KeyError) no job of this name is declared.
            WorkspaceNotJSON: (a TypeError) nothing was written.
            InvalidJob: (a ValueError) a value does not fit its column, or what is enqueued is
                larger than DBQ["MAX_PAYLOAD_BYTES"]; nothing was written.
            AlreadyEnqueued: the job is declared `unique`, and there is one already; it is the
                error's `job`. Nothing was written.
        """
        is_new = self._state.adding
        # `asave` passes all that it knows, and that is no choice of the caller's.
        kwargs = {key: value for key, value in kwargs.items() if value not in (None, False)}
        alias = partial(self._alias_to_save, args, kwargs)  # only unique jobs need to know
        if is_new:
            if not self._make_ready_to_insert(alias):
                return
        elif not args and not kwargs.keys() & set(CALLERS_CHOICE) and self.pk is not None:
            kwargs["update_fields"] = self._fields_to_save()
        self.require_storable(dbq_settings.max_payload_bytes() if is_new else None)
        save = partial(super().save, *args, **kwargs)
        if is_new and self.unique_key is not None:
            insert_the_only_one(self, save, using=alias())
        else:
            save()
        if is_new and self.is_news:
            announce(self.queue_name, using=str(self._state.db))
        if self.is_held_here:
            self._note_checkpoint(kwargs.get("update_fields"))

    def _alias_to_save(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The database to which `save` writes that is called with these arguments."""
        using: str | None = {**dict(zip(CALLERS_CHOICE, args)), **kwargs}.get("using")
        return using or self._alias_to_write()

    def save_or_find(self, **kwargs: Any) -> Job:
        """Save a new job and return it; or the one that is there, of a unique one."""
        try:
            self.save(**kwargs)
        except AlreadyEnqueued as error:
            there: Job = error.job
            if there.unique_key != self.unique_key:  # another one, which a hook wanted to enqueue
                raise
            return there
        return self

    @property
    def is_news(self) -> bool:
        """Whether workers that wait for jobs want to hear of this one."""
        return self.state in WAITING and is_soon(self.run_after)

    def _make_ready_to_insert(self, alias: Callable[[], str] | None = None) -> bool:
        """Fill in what a new job needs; False when its creation hook failed and that is logged.

        If told in which database, raises AlreadyEnqueued before a hook runs in vain.
        """
        if self.backend is not None:
            self.next_task, self.task_index = self.name, 0
            with contextlib.suppress(JobNotDeclared, InvalidDeclaration):  # the worker will say so
                self.take_unique_key(self.declaration)
            return True
        declaration = self.declaration
        self.fill_in(declaration)
        self.workspace = self.workspace or {}
        self.take_unique_key(declaration)  # by what the caller said, whatever a hook makes of it
        try:
            if declaration.creation_hook and self.unique_key is not None and alias is not None:
                require_only_one(self, using=alias())
            self.run_creation_hook()
        except AlreadyEnqueued:
            raise
        except Exception:
            if dbq_settings.current().creation_hook_errors != "log":
                raise
            logger.exception("Job %r was not created: its creation hook raised.", self.name)
            return False
        return True

    def fill_in(self, declaration: JobDeclaration) -> None:
        """Begin with the declared list of tasks, and take what was declared for what is unsaid."""
        self.next_task, self.task_index = declaration.tasks[0], 0
        self._take_unsaid(declaration)

    def _take_unsaid(self, declaration: JobDeclaration) -> None:
        if isinstance(self.queue_name, UnsaidText):
            self.queue_name = declaration.queue_name
        if isinstance(self.priority, UnsaidNumber):
            self.priority = declaration.priority

    def _take_as_it_is(self) -> None:
        """Its `next_task` was filled in by hand, as 3.3's recipe for many jobs had it."""
        with contextlib.suppress(JobNotDeclared, InvalidDeclaration):
            declaration = self.declaration
            self._take_unsaid(declaration)
            self.take_unique_key(declaration)

    def take_unique_key(self, declaration: JobDeclaration) -> None:
        """Be the only one, if that is declared.

        Raises WorkspaceNotJSON, or TypeError for arguments that a Django task does not take.
        """
        if declaration.unique is None:
            return
        text = self.workspace_as_json()
        if not text:
            reason = "an expression is known to the database alone, and the job is unique by it."
            raise InvalidJob("workspace", reason)
        self.unique_key = declaration.unique_key_of(json.loads(text))

    def _note_checkpoint(self, fields: Collection[str] | None) -> None:
        if fields is not None and "workspace" in fields:
            text = self.workspace_as_json()
            # If the task's own transaction is rolled back, nothing was saved.
            transaction.on_commit(
                lambda: setattr(self, "saved_workspace", text), using=self._state.db
            )

    def _fields_to_save(self) -> set[str]:
        fields = {field.name for field in self._meta.concrete_fields if not field.primary_key}
        spared = WRITTEN_BY_WORKERS | (WRITTEN_WITH_THE_OUTCOME if self.is_held_here else set())
        return fields - spared - self.get_deferred_fields()

    def _do_update(self, base_qs: Any, *args: Any) -> Any:
        """Django's hook around the UPDATE of a save; in a worker's hands it is fenced."""
        if not self.is_held_here:
            return super()._do_update(base_qs, *args)
        fenced = base_qs.filter(token=self.token, worker_id=self.worker_id, state__in=HELD)
        updated = super()._do_update(fenced, *args)
        if not updated:
            raise LeaseLost(self.pk)
        return updated

    def refresh_from_db(  # type: ignore[override] # from_queryset is of Django 5.1
        self, using: str | None = None, fields: Iterable[str] | None = None, **kwargs: Any
    ) -> None:
        """Read the row again. A worker's fence stays as it is: the row may be another's by now."""
        fence = (self.token, self.worker_id)
        if fields is None and self.is_workspace_unread:
            # By name, because Django leaves alone what it calls deferred.
            fields = [field.attname for field in self._meta.concrete_fields]
        super().refresh_from_db(using, fields, **kwargs)
        if self.is_held_here:
            self.token, self.worker_id = fence

    def require_storable(self, largest: int | None = None) -> None:
        """Raise InvalidJob or WorkspaceNotJSON unless every database can store this job.

        PayloadTooLarge, an InvalidJob, if its workspace has more than `largest` bytes.
        """
        for name, why_unstorable in WHY_UNSTORABLE.items():
            reason = why_unstorable(getattr(self, name))
            if reason:
                raise InvalidJob(name, reason)
        if (
            settings.USE_TZ
            and isinstance(self.run_after, datetime)
            and timezone.is_naive(self.run_after)
        ):
            raise InvalidJob(
                "run_after",
                f"{self.run_after!r} has no time zone, and USE_TZ is on. Use an aware datetime, "
                "as in timezone.now() + timedelta(hours=1).",
            )
        self.workspace_as_json(largest)

    @property
    def is_workspace_unread(self) -> bool:
        """Whether nobody has looked at the workspace since a worker claimed the job."""
        return self.workspace_in_row is not None and "workspace" not in self.__dict__

    def unread_workspace(self, in_row: str) -> None:
        """Have it parsed anew, from this text, when somebody looks at it."""
        self.workspace_in_row = in_row
        self.__dict__.pop("workspace", None)

    def workspace_as_json(self, largest: int | None = None) -> str:
        """The workspace as text; raises WorkspaceNotJSON when JSON cannot express it.

        And PayloadTooLarge, if `largest` is given and it is longer than that.

        Empty for an expression, which the database computes: no row's workspace is that text.
        """
        if hasattr(self.workspace, "resolve_expression"):
            return ""
        return workspace_as_json(self.workspace, self.name, largest)

    # Calling it off

    def cancel(self, reason: str = "", *, using: str | None = None) -> State:
        """Call the job off: at once while it waits; while it runs, its task is asked to end.

        Returns the state in which the job is now: CANCELLED, the one in which it runs, or the final
        one that it had reached before. `Job.objects.filter(...).cancel()` does it to many. Without
        `using` the router says on which database.
        """
        alias = using or self._alias_to_write()
        JobQuerySet(type(self), using=alias).filter(pk=self.pk).cancel(reason)
        self.refresh_from_db(
            using=alias,
            fields=["state", "modified", "finished_at", "cancel_requested_at", "cancel_reason"],
        )
        return State(self.state)

    @property
    def cancel_requested(self) -> bool:
        """Whether the job was called off while its task runs; a long task looks now and then.

        Asks the database at most once a second.
        """
        if self.cancel_requested_at is None and monotonic() - self._looked_at >= 1:
            self._looked_at = monotonic()
            self.look_for_cancel()
        return self.cancel_requested_at is not None

    def look_for_cancel(self) -> None:
        """Ask the database now whether the job was called off."""
        self.refresh_from_db(using=self._alias_to_write(), fields=["cancel_requested_at"])

    def _alias_to_write(self) -> str:
        """The database that has the row itself, where routers read from replicas of it."""
        if self.is_held_here:
            return str(self._state.db)
        return router.db_for_write(type(self), instance=self)

    # 3.3's methods: the job's list of tasks, and its hooks

    @property
    def declaration(self) -> JobDeclaration:
        """What `settings.JOBS`, its `@job` or its Django task says about this job now."""
        return declaration_of(self.name) if self.backend is None else declaration_at(self.name)

    def update_next_task(self) -> None:
        """Move on to the following task of the list; after the last, `next_task` is empty."""
        following = self.declaration.following(self.next_task, self.task_index)
        self.next_task, self.task_index = following

    def run_next_task(self) -> None:
        """Call the next task with this job, and wait for it if it is async. Not of Django tasks."""
        returned = task_at(self.next_task)(self)
        if inspect.iscoroutine(returned):
            async_to_sync(_await)(returned)

    def get_pre_task_hook_name(self) -> str | None:
        """The dotted path of the hook, or None."""
        return self.declaration.pre_task_hook

    def get_post_task_hook_name(self) -> str | None:
        """The dotted path of the hook, or None."""
        return self.declaration.post_task_hook

    def get_failure_hook_name(self) -> str | None:
        """The dotted path of the hook, or None."""
        return self.declaration.failure_hook

    def get_retry_hook_name(self) -> str | None:
        """The dotted path of the hook, or None."""
        return self.declaration.retry_hook

    def get_creation_hook_name(self) -> str | None:
        """The dotted path of the hook, or None."""
        return self.declaration.creation_hook

    def run_pre_task_hook(self) -> None:
        """Call the hook with this job, if it has one."""
        self._run_hook(self.get_pre_task_hook_name())

    def run_post_task_hook(self) -> None:
        """Call the hook with this job, if it has one."""
        self._run_hook(self.get_post_task_hook_name())

    def run_failure_hook(self, exception: BaseException) -> None:
        """Call the hook with this job and what its task raised, if it has one."""
        self._run_hook(self.get_failure_hook_name(), exception)

    def run_retry_hook(self, exception: BaseException) -> None:
        """Call the hook with this job and what its task raised, if it has one."""
        self._run_hook(self.get_retry_hook_name(), exception)

    def run_creation_hook(self) -> None:
        """Call the hook with this job, if it has one."""
        self._run_hook(self.get_creation_hook_name())

    def _run_hook(self, path: str | None, *args: object) -> None:
        if path:
            function_at(path)(self, *args)

    @staticmethod
    def get_queue_depths(
        *, exclude_future_jobs: bool = False, using: str | None = None
    ) -> dict[str, int]:
        """How many jobs wait in each queue; queues where none waits are left out."""
        waiting = Job.objects.using(using or router.db_for_read(Job)).filter(state__in=WAITING)
        if exclude_future_jobs:
            waiting = waiting.due(timezone.now())
        counts = waiting.order_by("queue_name").values_list("queue_name")
        return dict(counts.annotate(models.Count("pk")))


async def _await(coroutine: Any) -> None:
    await coroutine
