"""The process that `manage.py worker` starts: it begins, watches, feeds and replaces workers.

No task runs here, so nothing that a task does, holding the GIL included, can stop the heartbeats.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection, wait

from django.db import Error, connections

from django_dbq import clock
from django_dbq import settings as dbq_settings
from django_dbq.engines import engine_for
from django_dbq.queue.stats import unserved
from django_dbq.rules.backoff import pause_after
from django_dbq.rules.deaths import Death
from django_dbq.rules.queues import covers
from django_dbq.worker.child import SAID_DONE, Child
from django_dbq.worker.connections import close_all_connections
from django_dbq.worker.here import serve_here
from django_dbq.worker.housekeeper import Housekeeper
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.loop import Worker
from django_dbq.worker.options import WorkerOptions
from django_dbq.worker.processes import can_fork, cause_of_death, die_with_parent
from django_dbq.worker.registration import Lease, Registrar
from django_dbq.worker.shutdown import SECOND_SIGNAL_AFTER_SECONDS, on_stop_signal
from django_dbq.worker.watch import LAST_GRACE_SECONDS

logger = logging.getLogger("django_dbq.worker")

STOP_REMINDER_SECONDS = 1.0
LAST_SECONDS = LAST_GRACE_SECONDS + 0.5  # for a worker to end what runs when its grace time is over
OVERDUE_INTERVAL_SECONDS = 0.5  # how often it looks for tasks that have overrun their timeout
HEALTHY_AFTER_SECONDS = 10.0
LONGEST_RESTART_PAUSE_SECONDS = 30.0
SHOWN = 20  # names of queues in a line


class Supervisor:
    """Keeps `options.processes` workers running until they are done or it is told to stop."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.engine = engine_for(options.using)
        given = dbq_settings.current()
        self.registrar = Registrar(self.engine, lease=given.lease)
        self.housekeeper = Housekeeper(options.using, given.retention, lease=given.lease)
        self.children: list[Child] = []
        self._to_start = options.processes
        self._start_at = float("-inf")
        self._quick_deaths = 0
        self._unburied: dict[int, Death] = {}
        self._stop_asked_at: float | None = None
        self._reminded_at = float("-inf")
        self._killing = False
        self._bell, self._bell_rope = os.pipe()
        os.set_blocking(self._bell_rope, False)

    def run(self) -> int:
        """Supervise until no worker is left. The exit code: 1 after a second signal, else 0."""
        # Inherited: a worker that is being born must not end of a signal before it has its own.
        with on_stop_signal(self._on_stop_signal, is_inherited=True):
            try:
                while self._to_start or self.children:
                    self._turn()
                self._bury()
            finally:
                self.housekeeper.stop()
                for child in self.children:  # only after an error: nobody beats for them any more
                    child.kill()
        return 1 if self._killing else 0

    def _turn(self) -> None:
        self._start_missing()
        self._register_new()
        self._keep_time()
        self._beat()
        self._keep_time()
        self._wait()
        self._reap()

    def _keep_time(self) -> None:
        """What must not come late: done before and after the beat, which may wait for the database.

        Nothing else waits for it that has not answered: see `Registrar.is_cut_off`.
        """
        self._pass_stop_on()
        self._kill_overdue()

    # Starting

    def _start_missing(self) -> None:
        if not self._stop_asked_at:
            self.housekeeper.keep_running(not_its_own=[child.channel for child in self.children])
        while self._to_start and clock.monotonic() >= self._start_at and not self._stop_asked_at:
            try:
                self.children.append(self._fork())
            except OSError as error:
                logger.error("No worker process can be started: %s", error)
                self._pause_starting()
                return
            self._to_start -= 1
        if self._stop_asked_at:
            self._to_start = 0

    def _fork(self) -> Child:
        close_all_connections()  # never inherited: two processes on one socket break both
        lease, ledger = Lease(self.registrar.lease), Ledger(self.options.slots)
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=self._be_a_worker,
            args=(ours, theirs, lease, ledger, os.getpid()),
            name="dbq-worker",
        )
        process.start()
        theirs.close()
        return Child(process, ours, lease, ledger)

    def _be_a_worker(
        self,
        parents_end: Connection,
        channel: Connection,
        lease: Lease,
        ledger: Ledger,
        supervisor_pid: int,
    ) -> None:
        """In the new process: work until told to stop, or until the supervisor is gone."""
        die_with_parent(supervisor_pid)
        for connection in [parents_end, *(child.channel for child in self.children)]:
            connection.close()  # while we held them, our siblings could not see it die
        try:
            worker_id = channel.recv()
        except EOFError:
            return
        worker = Worker(
            self.options,
            engine_for(self.options.using),
            worker_id=worker_id,
            lease=lease,
            ledger=ledger,
        )
        threading.Thread(target=_listen, args=(channel, worker), daemon=True).start()
        with on_stop_signal(worker.stop):
            worker.run()
        connections.close_all()
        if not worker.stopping:
            channel.send(SAID_DONE)

    def _register_new(self) -> None:
        if self._stop_asked_at or self.registrar.is_cut_off:
            return
        for child in self.children:
            if child.worker_id is None and child.process.is_alive():
                try:
                    child.worker_id = self.registrar.register(
                        self.options.queues, pid=child.process.pid, threads=self.options.threads
                    )
                except Error as error:
                    self.registrar.note_failure("A worker cannot be registered", error)
                    return
                child.lease.renew(clock.monotonic())
                with contextlib.suppress(OSError):  # it died meanwhile, and will be reaped
                    child.channel.send(child.worker_id)

    # Keeping alive

    def _beat(self) -> None:
        if self.registrar.seconds_to_next_beat() > 0:
            return
        leases = {
            child.worker_id: child.lease
            for child in self.children
            if child.worker_id and child.condemned_at is None
        }
        dead = self.registrar.beat(leases)
        for child in self.children:
            if child.worker_id in dead:
                logger.error(
                    "Worker %d was silent for so long that others have taken its jobs; "
                    "a new one takes its place.",
                    child.worker_id,
                )
                child.condemn()
        if not self.registrar.is_cut_off:
            self._bury()
        self.registrar.rescue_dead()
        self.housekeeper.renew_duty(self.registrar, leases)

    def _kill_overdue(self) -> None:
        """End workers that should have left, or whose task has overrun its timeout and goes on.

        The other jobs that such a worker holds go back at once, as they were.
        """
        now = clock.monotonic()
        for child in self.children:
            if child.condemned_at is not None and now - child.condemned_at > LAST_SECONDS:
                child.kill()
            overran = child.ledger.overdue(now)
            if overran and child.killed_at is None:
                logger.error(
                    "Worker process %d is killed: job id=%s ran for longer than its timeout and "
                    "did not end when it was told to.",
                    child.process.pid,
                    ", ".join(map(str, overran)),
                )
                child.kill()

    def _wait(self) -> None:
        pause = min(self.registrar.seconds_to_next_beat(), OVERDUE_INTERVAL_SECONDS)
        if self._to_start:
            pause = min(pause, max(0.0, self._start_at - clock.monotonic()))
        if self._stop_asked_at:
            pause = min(pause, STOP_REMINDER_SECONDS)
        sentinels = [child.process.sentinel for child in self.children]
        if self._bell in wait([self._bell, *sentinels], timeout=pause):
            os.read(self._bell, 1024)

    def _reap(self) -> None:
        for child in [child for child in self.children if not child.process.is_alive()]:
            self.children.remove(child)
            child.process.join()
            if child.worker_id:
                self._unburied[child.worker_id] = child.death()
            if not child.is_done and not self._stop_asked_at:
                self._note_death(child)
                self._to_start += 1
            child.channel.close()
        if not self.registrar.is_cut_off:
            self._bury()

    def _note_death(self, child: Child) -> None:
        if child.killed_at or child.condemned_at:
            return  # told when it was done
        if child.age_seconds > HEALTHY_AFTER_SECONDS:
            self._quick_deaths = 0
        else:
            self._pause_starting()
        logger.error(
            "Worker process %d is gone (%s) though nobody asked; its jobs are given back, and "
            "another one takes its place.",
            child.process.pid,
            cause_of_death(child.process.exitcode),
        )

    def _pause_starting(self) -> None:
        """After the first quick death start again at once; then wait longer each time."""
        if self._quick_deaths:
            pause = pause_after(
                self._quick_deaths, first=1.0, longest=LONGEST_RESTART_PAUSE_SECONDS
            )
            self._start_at = clock.monotonic() + pause
        self._quick_deaths += 1

    def _bury(self) -> None:
        """Give back at once what dead workers of ours held, and forget them."""
        for worker_id, death in sorted(self._unburied.items()):
            try:
                with self.engine.response_timeout():
                    rescued = self.engine.rescue(worker_id, death, now=self.registrar.clock.now())
            except Error as error:
                self.registrar.note_failure("Jobs cannot be given back yet", error)
                return
            del self._unburied[worker_id]
            if rescued:
                logger.warning("Worker %d is dead; jobs given back: %d.", worker_id, rescued)

    # Stopping

    def _on_stop_signal(self) -> None:
        now = clock.monotonic()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
        elif now - self._stop_asked_at > SECOND_SIGNAL_AFTER_SECONDS:
            self._killing = True
        os.write(self._bell_rope, b".")

    def _pass_stop_on(self) -> None:
        if self._stop_asked_at is None:
            return
        now = clock.monotonic()
        if self._killing or self._patience_is_over(now - self._stop_asked_at):
            for child in self.children:
                if child.killed_at is None:
                    logger.warning(
                        "Worker process %d is killed; its jobs are given back.", child.process.pid
                    )
                child.kill()
        elif now - self._reminded_at >= STOP_REMINDER_SECONDS:
            if self._reminded_at == float("-inf"):
                logger.info("%s; a second signal stops at once.", self._how_it_stops())
            # Said again each second: one that arrives while a child is being born is lost.
            self._reminded_at = now
            for child in self.children:
                child.process.terminate()
                if child.worker_id is None:
                    child.channel.close()  # it waits for its id, and ends without one

    def _how_it_stops(self) -> str:
        if self.options.grace is None:
            return "Stopping when the running jobs are done"
        return (
            "Stopping when the running jobs are done, at the latest in "
            f"{self.options.grace.total_seconds():g} s"
        )

    def _patience_is_over(self, waited_seconds: float) -> bool:
        """Whether interrupted tasks have had their time, too; their jobs go back as they were."""
        if self.options.grace is None:
            return False
        grace_seconds = self.options.grace.total_seconds()
        return waited_seconds >= grace_seconds + LAST_SECONDS


def serve(options: WorkerOptions) -> int:
    """Run workers as asked for; returns the exit code.

    Raises DatabaseNotReady, before any starts, when the database is away or not migrated.
    """
    engine_for(options.using).get_ready()
    _tell_of_queues_nobody_serves(options)
    if options.processes and can_fork():
        return Supervisor(options).run()
    return serve_here(options)


def _tell_of_queues_nobody_serves(options: WorkerOptions) -> None:
    """A job on a queue that was misspelt, or forgotten, waits for ever."""
    engine = engine_for(options.using)
    with contextlib.suppress(Error):
        waiting = {head.queue for head in engine.heads(now=engine.now())}
        others = (name for name in waiting if not covers(options.queues, name))
        if found := unserved(others, using=options.using):
            logger.warning(
                "Jobs wait in queues that no live worker serves: %s. Start one with these names, "
                "or with '*' for every queue.",
                ", ".join(found[:SHOWN]) + ", …" * (len(found) > SHOWN),
            )


def _listen(channel: Connection, worker: Worker) -> None:
    """Leave when the supervisor says so; without one die, since nobody beats for us any more."""
    while True:
        try:
            channel.recv()
        except (EOFError, OSError):
            os.kill(os.getpid(), signal.SIGKILL)
        worker.stop(at_once=True)
