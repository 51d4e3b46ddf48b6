"""Run workers; and 3.3's `Worker` class, which people's test suites call."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser
from datetime import datetime, timedelta
from threading import Thread
from time import sleep
from types import FrameType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import router
from django.utils import timezone
from django.utils.connection import ConnectionDoesNotExist

from django_dbq import settings as dbq_settings
from django_dbq.clock import aware_now
from django_dbq.engines import Claim, engine_for
from django_dbq.exceptions import DBQError, InvalidOption, LeaseLost
from django_dbq.models import Job
from django_dbq.rules.states import State
from django_dbq.worker.by_hand import attempt_here
from django_dbq.worker.logs import show_logs
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.shutdown import on_stop_signal
from django_dbq.worker.supervisor import serve


class Worker:
    """3.3's worker, for code that drives one by hand: one job at a time, in this process.

    `manage.py worker` does not use it. A job in its hands has no owner, as in 3.3, so that no other
    worker ever rescues it.
    """

    def __init__(self, name: str, rate_limit_in_seconds: float) -> None:
        self.queue_name = name
        self.rate_limit_in_seconds = rate_limit_in_seconds
        self.alive = True
        self.last_job_finished: datetime | None = None
        self.current_job: Job | None = None

    def run(self) -> None:
        """Process jobs until a signal asks to stop."""
        # In a thread of its own: a handler runs in the middle of whatever the task is doing, and a
        # query in the middle of a query would wait for itself.
        with on_stop_signal(lambda: Thread(target=self.shutdown, args=(None, None)).start()):
            while self.alive:
                self.process_job()

    def shutdown(self, signum: int | None, frame: FrameType | None) -> None:
        """Take no more jobs; the one that is running is marked STOPPING and goes on."""
        self.alive = False
        if self.current_job:
            self.current_job.state = State.STOPPING
            with contextlib.suppress(LeaseLost):
                self.current_job.save(update_fields=["state"])

    def process_job(self) -> None:
        """Wait a second; then run a job, unless the last one ended less than the rate limit ago."""
        sleep(1)
        if self.last_job_finished is not None:
            pause = (timezone.now() - self.last_job_finished).total_seconds()
            if pause < self.rate_limit_in_seconds:
                return
        self._process_job()
        self.last_job_finished = timezone.now()

    def _process_job(self) -> None:
        """Run the next due job of the queue to its next saved state; nothing due: return."""
        engine = engine_for(router.db_for_write(Job))
        now = aware_now()  # this host's: test suites move it
        jobs = engine.claim(Claim([self.queue_name], limit=1, worker_id=None, now=now))
        for job in jobs:
            self.current_job = job
            try:
                attempt_here(engine, job)
            finally:
                self.current_job = None


class Command(BaseCommand):
    help = "Run workers, which run the jobs of one or several queues until they are told to stop."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "queue_name",
            nargs="*",
            default=["default"],  # without one, call_command(queue_name=...) cannot name it
            help="Queues to serve; the first is emptied before the next is looked at. '*', quoted "
            "and alone: every queue, the best job of all first. Default: default.",
        )
        parser.add_argument(
            "--rate_limit",
            "--rate-limit",
            nargs="?",
            type=float,
            help="Seconds between one job of a worker and its next; 0 for none. Default: "
            'DBQ["RATE_LIMIT"], or 1.',
        )
        parser.add_argument(
            "--threads",
            type=int,
            default=1,
            help="Jobs that one worker process runs at the same time. Default: 1.",
        )
        parser.add_argument(
            "--async-concurrency",
            type=int,
            default=100,
            help="Async jobs that one worker process runs at the same time, beside those of its "
            "threads. Default: 100.",
        )
        parser.add_argument(
            "--processes",
            type=int,
            default=1,
            help="Worker processes. 0: work in this process, for a debugger. Default: 1.",
        )
        parser.add_argument(
            "--burst", action="store_true", help="Exit when no job of the queues is due."
        )
        parser.add_argument(
            "--max-jobs",
            type=int,
            help="Each process exits when that many jobs are complete, failed or cancelled.",
        )
        parser.add_argument(
            "--grace",
            type=float,
            help="Seconds that running jobs may still take when the worker is asked to exit; then "
            'they are interrupted and given back. Default: DBQ["GRACE"], or until they are done.',
        )
        parser.add_argument("--database", help="Alias of the database with the jobs.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would be served, and exit."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            worker_options = _worker_options(options)
            self.stdout.write(_start_line(worker_options))
            if worker_options.threads > 1 and worker_options.rate_limit_seconds:
                self.stderr.write(
                    "A rate limit lets one job run at a time: the other threads will be idle. "
                    "Use --rate_limit 0."
                )
            if options["dry_run"]:
                return
            if options["verbosity"]:
                show_logs()
            exit_code = serve(worker_options)
        except (DBQError, ImproperlyConfigured, ConnectionDoesNotExist) as error:
            raise CommandError(str(error)) from error
        if exit_code:
            raise SystemExit(exit_code)


def _worker_options(options: dict[str, Any]) -> WorkerOptions:
    names, rate_limit, grace = options["queue_name"], options["rate_limit"], options["grace"]
    defaults = dbq_settings.current()
    return WorkerOptions(
        queues=(names,) if isinstance(names, str) else tuple(dict.fromkeys(names)),
        using=options["database"] or router.db_for_write(Job),
        rate_limit_seconds=defaults.rate_limit if rate_limit is None else rate_limit,
        threads=options["threads"],
        async_concurrency=options["async_concurrency"],
        processes=options["processes"],
        burst=options["burst"],
        max_jobs=options["max_jobs"],
        grace=defaults.grace if grace is None else _seconds("grace", grace),
    )


def _seconds(option: str, value: float) -> timedelta:
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise InvalidOption(option, value, "a number of seconds") from None


def _start_line(options: WorkerOptions) -> str:
    """3.3's line, in 3.3's words where it said the same."""
    queues = _these_queues(options)
    if not options.rate_limit_seconds:
        return f"Starting job worker for {queues} without a rate limit"
    seconds = f"{options.rate_limit_seconds:g}"
    return f"Starting job worker for {queues} with rate limit of one job per {seconds} second(s)"


def _these_queues(options: WorkerOptions) -> str:
    if options.serves_every_queue:
        return "every queue"
    names = ", ".join(f'"{name}"' for name in options.queues)
    return f"queue {names}" if len(options.queues) == 1 else f"queues {names}"
