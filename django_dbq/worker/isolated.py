"""In the process of its own that a run has: one job, its outcome sent to the worker, the end."""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from django.db import connections

from django_dbq import clock
from django_dbq.models import Job
from django_dbq.models.workspace import as_json
from django_dbq.rules.outcomes import Failed, Failure, Outcome
from django_dbq.rules.states import HELD
from django_dbq.worker.executor import perform
from django_dbq.worker.interrupts import Interruptible
from django_dbq.worker.isolation import Assignment, NotBegun, Step

# Makes a call that waits return, so that an interruption can be raised. What nobody else uses, and
# no harm where nobody handles it. One that comes just before the call is lost: so more than one.
WAKE_UP = signal.SIGURG
WAKE_UPS, WAKE_UP_INTERVAL_SECONDS = 5, 0.05


def work(channel: Connection) -> bool:
    """Run the job that comes over the channel; whether its task was told to end."""
    signal.signal(WAKE_UP, _do_nothing)
    assignment: Assignment = channel.recv()
    try:
        job = _claimed_job(assignment)
    except Exception as error:
        channel.send(NotBegun(f"{type(error).__name__}: {error}".strip()))
        return False
    block = _Block(channel)
    threading.Thread(target=_listen, args=(channel, block), name="dbq-listen", daemon=True).start()
    outcome = perform(job, interruptible=block)
    channel.send_bytes(_pickled(job, outcome))
    connections.close_all()
    return block.interrupted_by is not None


def _do_nothing(signum: int, frame: FrameType | None) -> None:
    """That a signal has come is all."""


def _claimed_job(assignment: Assignment) -> Job:
    held = Job.objects.using(assignment.using or None).filter(state__in=HELD)
    job = held.get(pk=assignment.job_id, token=assignment.token)
    job.is_held_here = True
    return job


class _Block(Interruptible):
    """Tells the worker when the task begins and when it has ended."""

    def __init__(self, channel: Connection) -> None:
        super().__init__()
        self._channel = channel

    def __enter__(self) -> _Block:
        self._channel.send(Step.ENTERED)
        super().__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            super().__exit__(*exc_info)
        finally:
            self._channel.send(Step.LEFT)


def _listen(channel: Connection, block: Interruptible) -> None:
    """Raise in the task what the worker says; without a worker, die."""
    main_thread = threading.main_thread().ident or 0
    while True:
        try:
            why = channel.recv()
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)
        if block.interrupt(why):
            for _ in range(WAKE_UPS):
                signal.pthread_kill(main_thread, WAKE_UP)
                time.sleep(WAKE_UP_INTERVAL_SECONDS)


def _pickled(job: Job, outcome: Outcome) -> bytes:
    changes = {name: _in_plain_types(value) for name, value in outcome.changes.items()}
    try:
        return pickle.dumps(replace(outcome, changes=changes))
    except Exception as error:  # of a time, say, that is of a class of the project's
        now = clock.aware_now()
        story = Failure.of(
            error, task=job.next_task, number=job.attempts, started_at=now, finished_at=now
        )
        return pickle.dumps(Failed(story=story))


def _in_plain_types(value: Any) -> Any:
    """As it comes back from the database: JSON expresses more classes than can be pickled here and
    be found again in the worker, a defaultdict with a lambda for one.
    """
    try:
        return json.loads(as_json(value))
    except (TypeError, ValueError, RecursionError):  # a time; that of Python's class can be pickled
        return value
