"""How the function of a job is called, and who is told of it: for each of the two doors."""

from __future__ import annotations

import logging
from copy import deepcopy
from functools import cached_property
from typing import Any

from django_dbq import clock
from django_dbq.exceptions import Snooze
from django_dbq.models import Attempt, Job
from django_dbq.models.workspace import as_storable_json
from django_dbq.queue.results import (
    arguments_of,
    error_of,
    put_metadata,
    unfinished_result,
    worker_name,
)
from django_dbq.rules.callables import is_async, task_at, was_async
from django_dbq.rules.declarations import JobDeclaration
from django_dbq.rules.django_tasks import DjangoTaskDeclaration
from django_dbq.rules.metadata import as_metadata, task_context_class
from django_dbq.rules.outcomes import Failure
from django_dbq.rules.worlds import WORLDS
from django_dbq.worker.logs import Rationed, log

AWAY_SECONDS = 1.0  # how long a task waits for what its context is to tell

# Django writes two lines for each task that succeeds. Beyond so many a second they are left out, as
# ours are: they would cost more than the task's claim, attempt and acknowledgement together.
_LINES = {world: Rationed(logging.getLogger(world.package)) for world in WORLDS}


class Call:
    """Of a function of `settings.JOBS`: it gets the job."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def is_async(self) -> bool:
        """Whether the call is to be awaited; of a function that cannot be had, False."""
        path = self.job.next_task
        known = was_async(path)
        return is_async(path) if known is None else known

    @property
    def may_block(self) -> bool:
        """Whether what goes on around the call may take long, or need the database."""
        return False

    def begin(self) -> None:
        """The function is about to be called."""

    def __call__(self) -> Any:
        """What the function returns; a coroutine, if it is async."""
        return task_at(self.job.next_task)(self.job)

    def result_of(self, returned: Any) -> Any:
        """What the job's `result` will be, of what was returned; raises if it cannot be one."""
        return returned

    def keep_metadata(self) -> None:
        """Put on the job what the attempt has changed of its metadata; raises if it is none."""

    @property
    def subject(self) -> Any:
        """What a function that decides on another attempt gets."""
        return self.job

    def succeeded(self, returned: Any) -> None:
        """The job is done; told before that is written down, and of an `atomic` task afterwards."""

    def failed(self, story: Failure | None) -> None:
        """No other attempt follows; told while the exception is handled."""


class DjangoTaskCall(Call):
    """Of a Django task: it gets its arguments, and signals of Django's tell of it."""

    def __init__(self, job: Job, declaration: DjangoTaskDeclaration) -> None:
        super().__init__(job)
        self._task = declaration.task
        self._is_async = declaration.is_async
        self._world = declaration.world
        self._context: list[Any] = []
        self._stories: list[Attempt] | None = None  # not read yet
        self._is_logged = _LINES[self._world].take_a_line()

    @property
    def is_async(self) -> bool:
        return self._is_async

    @property
    def may_block(self) -> bool:
        # Receivers of a project may ask the database, as earlier stories are asked for. Django's
        # own two write to the log.
        signals = ("task_started", "task_finished")
        return _has_a_story(self.job) or any(map(self._world.has_listeners, signals))

    def begin(self) -> None:
        if self._task.takes_context:
            self._stories = self._ask_for_stories()  # not in the call, which may be on a loop
            kind = task_context_class(self._world)
            self._context = [kind(task_result=self.subject, _save=self._save_metadata)]
        if self._is_noticed("task_started"):
            self._send("task_started")

    def __call__(self) -> Any:
        arguments = arguments_of(self.job)
        if not self.job.is_workspace_unread:  # in a process of its own
            arguments = deepcopy(arguments)  # the task may change them, and the job's stay
        # Not `call`, which would wait for an async one; and finds out each time which kind it is.
        return self._task.func(*self._context, *arguments["args"], **arguments["kwargs"])

    def result_of(self, returned: Any) -> Any:
        result = self._world.normalize_json(returned)
        as_storable_json(result)
        return result

    def keep_metadata(self) -> None:
        if "subject" in self.__dict__:  # else nobody has seen any, as in most attempts
            put_metadata(self.job, as_metadata(self.subject.metadata, self._world))

    def _save_metadata(self, metadata: dict[str, Any]) -> None:
        """A checkpoint; raises LeaseLost."""
        put_metadata(self.job, metadata)
        self.job.save(update_fields=["workspace", "modified"])

    @cached_property
    def subject(self) -> Any:
        """The result, of which Django's classes let us change what comes to pass."""
        job = self.job
        result = unfinished_result(job, self._task, self._world, self._known_stories())
        object.__setattr__(result, "status", self._world.base.TaskResultStatus.RUNNING)
        result.worker_ids.append(worker_name(job.worker_id))
        return result

    def _ask_for_stories(self) -> list[Attempt]:
        try:
            return _stories_of(self.job)
        except Exception as error:  # not all are Django's: mysqlclient may fail to close a cursor
            # Ours, and no failure of the task.
            log(logging.WARNING, "Job id=%s waits for the database: %s", self.job.pk, error)
            raise Snooze(AWAY_SECONDS) from error

    def _known_stories(self) -> list[Attempt]:
        """As far as they can be had: what becomes of the job does not depend on them."""
        if self._stories is None:
            try:
                self._stories = _stories_of(self.job)
            except Exception as error:
                log(logging.WARNING, "Job id=%s: earlier attempts unknown: %s", self.job.pk, error)
                self._stories = []
        return self._stories

    def succeeded(self, returned: Any) -> None:
        if self._is_noticed("task_finished"):
            object.__setattr__(self.subject, "_return_value", returned)
            self._end(self._world.base.TaskResultStatus.SUCCESSFUL)

    def failed(self, story: Failure | None) -> None:
        if story is not None:
            self.subject.errors.append(error_of(story, self._world))
        self._end(self._world.base.TaskResultStatus.FAILED)

    def _end(self, status: Any) -> None:
        object.__setattr__(self.subject, "status", status)
        object.__setattr__(self.subject, "finished_at", clock.aware_now())
        self._send("task_finished")

    def _is_noticed(self, signal: str) -> bool:
        """Whether anybody notices, when nothing went wrong; of failures, always."""
        return self._is_logged or self._world.has_listeners(signal)

    def _send(self, signal: str) -> None:
        """A receiver that raises is logged, by Django, and changes nothing."""
        signals = self._world.signals
        getattr(signals, signal).send_robust(self._sender, task_result=self.subject)

    @cached_property
    def _sender(self) -> type:
        return type(self.subject.task.get_backend())


def call_of(job: Job, declaration: JobDeclaration) -> Call:
    if isinstance(declaration, DjangoTaskDeclaration):
        return DjangoTaskCall(job, declaration)
    return Call(job)


def _has_a_story(job: Job) -> bool:
    """Whether there may be earlier attempts: most jobs have had none. A rerun counts anew, and
    leaves `started_at` as it was."""
    return job.attempts > 1 or job.crashes > 0 or job.started_at != job.last_attempted_at


def _stories_of(job: Job) -> list[Attempt]:
    """Of earlier attempts."""
    if not _has_a_story(job):
        return []
    return list(Attempt.objects.using(job._state.db).filter(job_id=job.pk))
