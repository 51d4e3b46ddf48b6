"""The run: what `python -m example` does, step by step."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from example import progress
from example.progress import Snapshot
from example.screen import Screen
from example.stop import StopRequest
from example.worker import MANAGE, Worker

SUMMARY_AFTER_SECONDS = 5.0
LOOK_EVERY_SECONDS = 0.2
RATE_OVER_SAMPLES = 15  # three seconds: steady enough to read, young enough to be true
SILENCE_SECONDS = 60.0  # without one finished job, while there are some to do
JOB_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def main(arguments: Sequence[str], stop: StopRequest) -> int:
    """Run the example; returns the exit code of the process."""
    options = parse(arguments)
    screen = Screen()
    try:
        return run(options, screen, stop)
    except BrokenPipeError:  # whoever read our output has gone, `head` for one
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for what Python flushes at its exit)
        return 1
    finally:
        screen.close()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m example",
        description="Index the Python standard library with jobs of a queue, and watch them.",
    )
    parser.add_argument(
        "packages", nargs="*", help="index these top-level packages only, such as: json email"
    )
    parser.add_argument("--library", type=Path, help="index this folder of Python files instead")
    parser.add_argument(
        "--processes",
        type=int,
        default=min(os.cpu_count() or 1, 4),
        help="worker processes (default: one per core, four at most)",
    )
    parser.add_argument(
        "--summary-after",
        type=float,
        default=SUMMARY_AFTER_SECONDS,
        metavar="SECONDS",
        help="when the summary is due (default: %(default).0f seconds from the start)",
    )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, screen: Screen, stop: StopRequest) -> int:
    if options.library:
        os.environ["EXAMPLE_LIBRARY"] = str(options.library.resolve())
    os.environ["DJANGO_SETTINGS_MODULE"] = "example.settings"
    os.environ.setdefault("EXAMPLE_DEBUG", "0")
    setup_django()

    if not (migrate(screen) and enqueue(options, screen)):
        return 1
    if stop.is_asked:
        return stop.exit_code
    worker = Worker("--rate_limit", "0", "--processes", str(options.processes), stop_request=stop)
    with worker:
        screen.step(
            "Worker", "manage.py " + shlex.join(worker.command[2:]), f"process {worker.pid}"
        )
        screen.say()
        watch = Watch(worker, screen, stop)
        watch.until_all_is_done()
        if stop.is_asked:
            screen.close()
            screen.say("\nStopping: the worker finishes what it is running. Once more: at once.")
    watch.tell_what_worker_said(all_of_it=True)
    return conclude(watch, screen, stop)


def setup_django() -> None:
    import django

    django.setup()


def migrate(screen: Screen) -> bool:
    from django.core.management import call_command
    from django.db import DatabaseError, connection, transaction

    from example.catalog import index

    file = connection.settings_dict["NAME"]
    began = time.monotonic()
    Path(log_file()).write_text("", encoding="utf-8")  # a log of this run, not of all
    try:
        call_command("migrate", verbosity=0)
        with transaction.atomic():
            index.start_over()
    except DatabaseError as error:
        screen.warn(f"The database {shown(file)} cannot be used: {error}")
        screen.say("It is a file that each run fills anew: delete it and run again.")
        return False
    screen.title(f"{versions()}\n")
    screen.step("Database", f"{shown(file)}, migrated", took(began))
    return True


def enqueue(options: argparse.Namespace, screen: Screen) -> bool:
    from django.conf import settings

    from example.catalog import index

    began = time.monotonic()
    count = index.enqueue_modules(options.packages)
    if not count:
        of_packages = f" of {', '.join(options.packages)}" if options.packages else ""
        screen.warn(f"There is no Python file{of_packages} below {settings.LIBRARY}.")
        return False
    screen.step(
        "Jobs", f"{count:,} enqueued: one for each module of {settings.LIBRARY}", took(began)
    )
    index.schedule_summary(timedelta(seconds=options.summary_after))
    when = f"in {options.summary_after:.0f} seconds at the earliest, and after all others"
    screen.step("", f"1 scheduled: the summary, {when}")
    return True


class Watch:
    """Looks at the job table and at the worker until one of them says that it is over."""

    def __init__(self, worker: Worker, screen: Screen, stop: StopRequest) -> None:
        self.worker, self.screen, self.stop = worker, screen, stop
        self.snapshot = Snapshot(0, 0, 0, 0.0, 0.0)
        self.worker_died = False
        self.stands_still = False
        self._began = time.monotonic()
        self._last_progress = self._began
        self._samples: deque[tuple[float, int]] = deque(maxlen=RATE_OVER_SAMPLES)
        self._told: set[str] = set()
        self._told_of_waiting = False
        self._untold_lines: list[tuple[float, bool, str]] = []

    def until_all_is_done(self) -> None:
        while not self.is_over():
            self.screen.show(self.snapshot)
            self.stop.wait(LOOK_EVERY_SECONDS)
        self.screen.finish(self.snapshot)

    def is_over(self) -> bool:
        # Asked before the jobs are counted: a worker that dies after its last job is fine.
        self.worker_died = self.worker.exit_code is not None
        self.snapshot = self._look()
        self.tell_failures()
        self.tell_what_worker_said()
        self.tell_what_is_waited_for()
        silence = time.monotonic() - self._last_progress
        self.stands_still = self.snapshot.left > 0 and silence > SILENCE_SECONDS
        return not self.snapshot.left or self.worker_died or self.stands_still or self.stop.is_asked

    def _look(self) -> Snapshot:
        from django_dbq.models import Job
        from example.catalog import index

        counts = index.jobs_by_state()
        done = counts.get(Job.STATES.COMPLETE, 0)
        failed = counts.get(Job.STATES.FAILED, 0)
        elapsed = time.monotonic() - self._began
        if done + failed > self.snapshot.done + self.snapshot.failed:
            self._last_progress = time.monotonic()
        self._samples.append((elapsed, done + failed))
        return Snapshot(
            done=done,
            failed=failed,
            left=sum(counts.values()) - done - failed,
            elapsed_seconds=elapsed,
            jobs_per_second=progress.rate_of(list(self._samples)),
        )

    def tell_what_is_waited_for(self) -> None:
        """Say, once, why nothing moves when only a scheduled job is left."""
        from example.catalog import queries

        if self.snapshot.left == 1 and not self._told_of_waiting:
            for job in queries.queue_state().scheduled:
                self._told_of_waiting = True
                when = f"{job.run_after:%H:%M:%S} UTC"
                self.screen.step("", f"All modules are done; the job {job.name} runs at {when}.")

    def tell_failures(self) -> None:
        """One line about each new failed job, in the words of its failure hook."""
        from example.catalog.models import Failure

        for failure in Failure.objects.order_by("happened_at"):
            if str(failure.job_id) not in self._told:
                self._told.add(str(failure.job_id))
                line = f":{failure.line}" if failure.line else ""
                self.screen.complain(f"{failure.path}{line}  {failure.message}")

    def tell_what_worker_said(self, all_of_it: bool = False) -> None:
        """What it prints, and its warnings and errors.

        Less those about jobs whose failure is told anyway; the line about such a job may be here
        before the failure hook's story is.
        """
        now = time.monotonic()
        self._untold_lines += [(now, *line) for line in self.worker.new_lines()]
        waiting = []
        for heard, is_complaint, line in self._untold_lines:
            job_ids = set(JOB_ID.findall(line))
            if job_ids & self._told:
                continue
            if job_ids and now - heard < 1 and not all_of_it:
                waiting.append((heard, is_complaint, line))
            elif is_complaint:
                self.screen.complain(f"worker: {line}")
            else:
                self.screen.step("", line)
        self._untold_lines = waiting


def conclude(watch: Watch, screen: Screen, stop: StopRequest) -> int:
    """Say how it went; returns the exit code."""
    log = shown(log_file())
    left, exit_code = watch.snapshot.left, watch.worker.exit_code
    screen.say()
    if watch.worker_died and left:
        screen.warn(f"The worker died ({ending(exit_code)}) with {left:,} jobs left. It said last:")
        for line in watch.worker.last_lines or ["(nothing)"]:
            screen.say(f"    {line}")
        screen.say(f"Its log, with tracebacks: {log}")
        return 1
    if watch.stands_still:
        screen.warn(f"No job was finished for {SILENCE_SECONDS:.0f} seconds. See {log}.")
        return 1
    if stop.is_asked:
        screen.say(f"Stopped, with {left:,} jobs left. To go on with them: {command('worker')}")
        return stop.exit_code
    if not tell_summary(screen):
        screen.warn(f"The job that counts what was found has failed. See {log}.")
        return 1
    tell_where_to_look(screen, log)
    if watch.worker.had_to_be_killed or exit_code:
        screen.warn(f"\nThe work is done, but the worker did not stop well ({ending(exit_code)}).")
        return 1
    return 0


def tell_summary(screen: Screen) -> bool:
    """What the scheduled job counted; False when it has counted nothing."""
    from example.catalog import index, queries
    from example.catalog.models import Summary

    summary = Summary.objects.first()
    if summary is None:
        return False
    jobs, seconds = index.jobs_and_seconds()
    rate = jobs / max(seconds, 0.001)
    screen.title(f"{jobs:,} modules in {progress.duration(seconds)}, {rate:,.0f} jobs/s")
    for label, number in (
        ("lines", summary.lines),
        ("classes", summary.classes),
        ("functions", summary.functions),
        ("imports", summary.imports),
        ("failed", summary.failures),
    ):
        screen.say(f"  {number:>9,} {label}")
    biggest = queries.biggest_modules(3)
    imported = queries.most_imported(3)
    screen.say()
    screen.step("Biggest", ", ".join(f"{module.name} ({module.lines:,})" for module in biggest))
    screen.step(
        "Imported", ", ".join(f"{row['target']} ({row['importers']:,})" for row in imported)
    )
    if summary.failures:
        screen.step(
            "Failed", "files that this Python cannot read; their story is on a page, see below"
        )
    return True


def tell_where_to_look(screen: Screen, log: str) -> None:
    screen.title("\nWhere to look next")
    screen.say(f"  {command('runserver')}")
    screen.say("      then http://127.0.0.1:8000/ for what was found, and")
    screen.say("      http://127.0.0.1:8000/failures/ for what could not be read, and why")
    screen.say(f"  {shown(MANAGE.parent / 'settings.py')}  and  {shown(MANAGE.parent / 'catalog')}")
    screen.say("      how the jobs are declared, their tasks and hooks")
    screen.say(f"  {log}")
    screen.say("      what the worker did, job by job")
    screen.say(f"  {shown(MANAGE.parent.parent / 'README.md')}")
    screen.say("      a queue for your own project in five minutes")


def log_file() -> str:
    from django.conf import settings

    return str(settings.LOGGING["handlers"]["file"]["filename"])


def versions() -> str:
    import django

    import django_dbq

    return (
        f"django-db-queue {django_dbq.__version__} on Django {django.get_version()}, "
        f"Python {platform.python_version()}"
    )


def took(began: float) -> str:
    return progress.duration(time.monotonic() - began)


def ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"ended by signal {-exit_code}"
    return f"exit code {exit_code}"


def command(name: str) -> str:
    """What to type for a command of the example, in the surroundings of this run."""
    given = [name for name in ("EXAMPLE_LIBRARY", "EXAMPLE_DATABASE") if name in os.environ]
    variables = "".join(f"{name}={shlex.quote(os.environ[name])} " for name in given)
    return f"{variables}{shlex.quote(shown(sys.executable))} {shlex.quote(shown(MANAGE))} {name}"


def shown(path: str | Path) -> str:
    """A path as a person here would type it."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
