"""Faults of all kinds at random moments, for as long as you like: make soak MINUTES=10

    python -m tests.faults.soak postgresql --minutes 10 --seed 42

On a throw-away server (SQLite: a file). The seed is printed first: it decides what is enqueued and
which faults follow each other, though not what the processes are doing at that moment. At the end
the invariants of all tests of faults are checked; the exit status is 1 if one was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from django.utils.module_loading import import_string

from tests import databases

MEMBERS = 3
BACKLOG = 120
SETTLING_SECONDS = 180

# Name, how often, what its workspace says or its arguments are, and how it ends.
LOAD = (
    ("note", 40, lambda chance: {}, "COMPLETE"),
    ("work", 25, lambda chance: {"seconds": chance.uniform(0, 0.3)}, "COMPLETE"),
    ("steps", 12, lambda chance: {"seconds": chance.uniform(0, 0.1)}, "COMPLETE"),
    ("flaky", 10, lambda chance: {"failures": chance.randrange(4)}, "COMPLETE"),
    ("atomic_effect", 12, lambda chance: {"seconds": chance.uniform(0, 0.2)}, "COMPLETE"),
    ("work", 3, lambda chance: {"seconds": chance.uniform(1, 4)}, "COMPLETE"),
    ("work_alone", 3, lambda chance: {"seconds": chance.uniform(0, 2)}, "COMPLETE"),
    ("die_once", 1, lambda chance: {}, "COMPLETE"),
    ("die", 0.2, lambda chance: {}, "FAILED"),
    ("endless", 0.2, lambda chance: {}, "FAILED"),
    ("endless_alone", 0.5, lambda chance: {}, "FAILED"),
    ("note_async", 20, lambda chance: {}, "COMPLETE"),
    ("work_async", 25, lambda chance: {"seconds": chance.uniform(0, 1)}, "COMPLETE"),
    ("work_async", 3, lambda chance: {"seconds": chance.uniform(1, 4)}, "COMPLETE"),
    ("work_async_alone", 1, lambda chance: {"seconds": chance.uniform(0, 2)}, "COMPLETE"),
    ("steps_async", 12, lambda chance: {"seconds": chance.uniform(0, 0.1)}, "COMPLETE"),
    ("flaky_async", 10, lambda chance: {"failures": chance.randrange(4)}, "COMPLETE"),
    ("ask_async", 10, lambda chance: {"seconds": chance.uniform(0, 0.1)}, "COMPLETE"),
    ("block", 1, lambda chance: {"seconds": chance.uniform(0, 3)}, "COMPLETE"),
    ("die_once_async", 0.5, lambda chance: {}, "COMPLETE"),
    ("endless_async", 0.2, lambda chance: {}, "FAILED"),
    ("restless_async", 0.2, lambda chance: {}, "FAILED"),
    ("hold_async_for_a_second", 0.5, lambda chance: {}, "FAILED"),
    ("django_tasks.work", 10, lambda chance: {"seconds": chance.uniform(0, 0.3)}, "COMPLETE"),
    ("django_tasks.work_async", 10, lambda chance: {"seconds": chance.uniform(0, 1)}, "COMPLETE"),
    ("django_tasks.flaky_async", 5, lambda chance: {"failures": chance.randrange(4)}, "COMPLETE"),
)
# Tasks that take their process along.
DEADLY = ("die", "die_once", "endless", "die_once_async", "endless_async", "restless_async")
DATABASE_FAULTS = (
    "end_sessions",
    "cut_connections",
    "lose_answers",
    "blackhole",
    "restart_server",
)
# Three kills while a task runs are bad luck here, and no proof against the task.
# More than chance will charge to one innocent job; each further crash doubles a pause.
DBQ = {"LEASE": 3, "MAX_CRASHES": 7}


class Soak:
    """Workers under load, and whoever torments them."""

    def __init__(self, kind, server, proxy, team, chance):
        self.kind, self.server, self.proxy, self.team = kind, server, proxy, team
        self.chance = chance
        self.expected = {}
        self.faults = Counter()
        self.felled = {}  # process id → (fault, when), for recovery times
        self.struck_database_at = []  # what is connected to it needs a while then
        self.excused = set()  # processes that were frozen or cut off
        self.through_proxy = None  # the member that is connected through it
        self.crew = []
        self.thaw_at = []  # (when, process ids)

    # Load

    def enqueue(self):
        """Keep some jobs waiting, of all sorts."""
        from django.db import transaction

        from django_dbq.models import Job
        from django_dbq.rules.worlds import WORLDS

        waiting = Job.objects.filter(state__in=["NEW", "READY"]).count()
        load = [one for one in LOAD if WORLDS or "." not in one[0]]
        weights = [weight for _, weight, _, _ in load]
        with transaction.atomic():
            for _ in range(BACKLOG - waiting):
                ((name, _, says, end),) = self.chance.choices(load, weights)
                job = enqueue_one(name, says(self.chance), priority=self.chance.randrange(3))
                self.expected[job] = end

    def man(self):
        """Start a worker for each that is missing."""
        self.crew = [member for member in self.crew if member.runs]
        while len(self.crew) < MEMBERS:
            proxied = self.proxy is not None and self.through_proxy not in self.crew
            options = ["--threads", self.chance.randint(1, 3)]
            options += ["--processes", self.chance.randint(1, 2)]
            options += ["--async-concurrency", self.chance.choice([5, 20, 100])]
            database = self.proxy.as_database if proxied else {}
            member = self.team.start(*options, database=database)
            self.crew.append(member)
            if proxied:
                self.through_proxy = member

    # Faults

    def strike(self):
        """One fault; its name."""
        possible = {
            self.kill_worker_process: 4,
            self.kill_supervisor: 2,
            self.kill_group: 2,
            self.stop: 2,
            self.stop_twice: 1,
            self.freeze: 2,
        }
        if self.kind != "sqlite":
            possible |= {self.end_sessions: 2, self.cut_connections: 2, self.lose_answers: 2}
            possible |= {self.blackhole: 1, self.restart_server: 0.5}
        (fault,) = self.chance.choices(list(possible), list(possible.values()))
        strikes_database = fault.__name__ in DATABASE_FAULTS
        if strikes_database:
            self.struck_database_at.append(time.monotonic())
        if fault() is not False:
            self.faults[fault.__name__.replace("_", " ")] += 1

    def kill_worker_process(self):
        from tests.faults.team import family

        pids = family(self.chance.choice(self.crew).pid)[1:]
        if not pids:
            return False
        pid = self.chance.choice(pids)
        self._fell(family(pid), "kill worker process")
        self.team.kill(pid)
        return True

    def kill_supervisor(self):
        from tests.faults.team import family

        member = self.chance.choice(self.crew)
        self._fell(family(member.pid), "kill supervisor")
        self.team.kill(member.pid)
        member.popen.wait()

    def kill_group(self):
        from tests.faults.team import family

        member = self.chance.choice(self.crew)
        self._fell(family(member.pid), "kill group")
        self.team.kill_group(member)

    def stop(self):
        self.chance.choice(self.crew).signal(signal.SIGTERM)

    def stop_twice(self):
        from tests.faults.team import family

        member = self.chance.choice(self.crew)
        member.signal(signal.SIGTERM)
        self.pause(1.2)
        if member.runs:
            self._fell(family(member.pid), "stop twice")
            member.signal(signal.SIGTERM)

    def freeze(self):
        from tests.faults.team import family

        pids = family(self.chance.choice(self.crew).pid)
        self.excused.update(pids)
        self._fell(pids, "freeze")
        for pid in pids:
            send(pid, signal.SIGSTOP)
        # On SQLite what is frozen in a transaction keeps everybody out: not for long.
        longest = 2 if self.kind == "sqlite" else 8
        self.thaw_at.append((time.monotonic() + self.chance.uniform(0.5, longest), pids))

    def thaw(self, *, all_of_them=False):
        now = time.monotonic()
        due = [(at, pids) for at, pids in self.thaw_at if at <= now or all_of_them]
        self.thaw_at = [one for one in self.thaw_at if one not in due]
        for _, pids in due:
            for pid in pids:
                send(pid, signal.SIGCONT)

    def end_sessions(self):
        from tests.processes.test_together import end_other_sessions

        end_other_sessions()

    def cut_connections(self):
        self.proxy.cut_all()

    def lose_answers(self):
        self.proxy.cut_replies_to(b"COMMIT", times=self.chance.randint(1, 3))

    def blackhole(self):
        from tests.faults.team import family

        if self.through_proxy is None or not self.through_proxy.runs:
            return False
        pids = family(self.through_proxy.pid)
        self.excused.update(pids)
        self._fell(pids, "blackhole")
        self.proxy.blackhole()
        self.pause(self.chance.uniform(1, 6))
        self.excused.update(family(self.through_proxy.pid))
        self.proxy.forward()
        return True

    def restart_server(self):
        from django.db import connection

        self.server.end(signal.SIGQUIT if self.kind == "postgresql" else signal.SIGKILL)
        connection.close()
        self.pause(self.chance.uniform(0, 3))
        self.server.start()

    def _fell(self, pids, fault):
        for pid in pids:
            self.felled[pid] = (fault, time.monotonic())

    # The course of it

    def pause(self, seconds):
        """Time goes by, and what is frozen thaws."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.thaw()
            time.sleep(0.05)

    def run(self, minutes):
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            if patiently(self.enqueue):
                self.man()
            self.pause(self.chance.uniform(0.1, 2))
            patiently(self.strike)

    def settle(self):
        """No more faults: everything that was enqueued has to come to its end."""
        from tests.compat.waiting import wait_until
        from tests.faults.conftest import unfinished

        self.thaw(all_of_them=True)
        if self.proxy:
            self.proxy.cut_replies_to(b"", times=0)
        self.man()
        try:
            wait_until(
                lambda: self.man() or not unfinished().exists(),
                "every job was final",
                seconds=SETTLING_SECONDS,
            )
        except AssertionError as error:
            return [str(error), *map(str, unfinished().values())]
        return []


def enqueue_one(name, says, *, priority):
    """Through the door that the name is of; the job's id as a text."""
    from django_dbq.models import Job

    if "." not in name:
        return str(Job.objects.create(name=name, workspace=says, priority=priority).pk)
    task = import_string(f"tests.faults.{name}")
    return task.using(priority=priority).enqueue(**says).id


def patiently(step):
    """The database that is tormented is ours, too; whether the step was done."""
    from django.db import Error, connection

    try:
        step()
    except Error as error:
        print(f"  (we were hit, too: {str(error).strip()[:100]})")
        connection.close()
        return False
    return True


def send(pid, number):
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def recovery_seconds(soak, found):
    """By fault, how long it took until each job that ran was given back.

    Told apart: when the database was struck meanwhile, or so shortly before that those who rescue
    could not yet tell who was silent. It takes longer, too, while all are young: whoever has just
    started judges nobody for a lease.
    """
    from tests.faults import history

    offset = history.clock_offset()
    released = {
        (change.job, change.old_token): change.at - offset
        for change in found.changes
        if change.new_token > change.old_token and change.new_state in ("NEW", "READY")
    }
    seconds = defaultdict(list)
    for run in found.runs:
        fault, at = soak.felled.get(run.pid, (None, None))
        given_back = released.get((run.job, run.token))
        was_running = fault and run.started < at and (run.ended is None or run.ended > at)
        if was_running and given_back and given_back > at:
            since = at - 2 * DBQ["LEASE"]
            also = any(since < struck < given_back for struck in soak.struck_database_at)
            seconds[fault + " (and the database)" * also].append(given_back - at)
    return seconds


def report(soak, found, stuck):
    print("\nfaults")
    for fault, count in soak.faults.most_common():
        print(f"  {fault:<22}{count:>7}")
    print("\njobs")
    for state, count in found.states.most_common():
        print(f"  {state:<22}{count:>7}")
    print(f"  {'runs':<22}{len(found.runs):>7}")
    causes = duplicates_by_cause(soak, found)
    print("\ntasks that returned more than once, by what had happened to the earlier run")
    for cause, count in causes.most_common():
        print(f"  {cause:<22}{count:>7}")
    print(f"  {'(overlapping)':<22}{found.overlaps:>7}")
    print("\nseconds until running jobs were given back      n     p50     p99     max")
    for fault, seconds in sorted(recovery_seconds(soak, found).items()):
        seconds.sort()
        p99 = seconds[int(len(seconds) * 0.99)]
        middle = statistics.median(seconds)
        print(f"  {fault:<40}{len(seconds):>7}{middle:>8.2f}{p99:>8.2f}{seconds[-1]:>8.2f}")
    breaches = [*stuck, *found.breaches]
    print(f"\ninvariants: {'ok' if not breaches else f'BROKEN, {len(breaches)} times'}")
    for breach in breaches[:50]:
        print(f"  {breach}")
    return 1 if breaches else 0


def duplicates_by_cause(soak, found):
    causes, returned = Counter(), {}
    deadly = {run.pid for run in found.runs if run.task in DEADLY and run.ended is None}
    for run in sorted(found.runs, key=lambda run: run.started):
        if run.returned:
            earlier = returned.get((run.job, run.place))
            if earlier:
                other = "its neighbour" if earlier.pid in deadly else "database, or other"
                causes[soak.felled.get(earlier.pid, (other,))[0]] += 1
            returned[run.job, run.place] = run
    return causes


@contextmanager
def ground(kind):
    """A database to stand on, and Django set up for it; gives the server."""
    os.environ["DBQ_TEST_DATABASE"] = kind
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.faults.settings"
    with nullcontext() if kind == "sqlite" else databases.throw_away_server(kind) as server:
        if server:
            os.environ[databases.URL_VARIABLES[kind]] = server.url
        import django

        django.setup()
        from django.db import connection

        from tests.faults import history
        from tests.faults.database import make_database

        make_database()
        history.begin()
        try:
            yield server
        finally:
            connection.close()
            if kind == "sqlite":
                name = Path(connection.settings_dict["NAME"])
                for left in name.parent.glob(f"{name.name}*"):
                    left.unlink()


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("kind", choices=databases.KINDS)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"{arguments.kind}, {arguments.minutes:g} minutes, seed {seed}", flush=True)
    with ground(arguments.kind) as server, tempfile.TemporaryDirectory() as folder:
        from tests.faults.database import address
        from tests.faults.invariants import examine
        from tests.faults.proxy import Proxy
        from tests.faults.team import Team

        team = Team(Path(folder), dbq=DBQ)
        with Proxy(**address()) if server else nullcontext() as proxy:
            soak = Soak(arguments.kind, server, proxy, team, random.Random(seed))
            try:
                soak.run(arguments.minutes)
                stuck = soak.settle()
            finally:
                team.end()
            found = examine(
                folder,
                expected=soak.expected,
                deaths=team.deaths,
                may_overlap=soak.excused,
                slots=team.most_slots,
            )
            status = report(soak, found, stuck)
            if status:
                kept = Path(tempfile.mkdtemp(prefix="dbq-soak-"))
                for file in Path(folder).glob("*"):
                    file.rename(kept / file.name)
                print(f"\nThe journal and what the workers said: {kept}")
    return status


if __name__ == "__main__":
    sys.exit(main())
