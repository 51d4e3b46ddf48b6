"""Any verbs in any order, by several workers, with late acknowledgements of all that ever was."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import count
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from django_dbq import queue
from django_dbq.engines import Engine
from django_dbq.models import Attempt, Job, WorkerProcess
from django_dbq.rules.deaths import Death
from django_dbq.rules.outcomes import (
    Advanced,
    CalledOff,
    Completed,
    Crashed,
    Failed,
    Failure,
    Outcome,
    Requeued,
    Retried,
    Snoozed,
)
from tests.model import steps
from tests.model.expected import FINAL, HELD, ExpectedJob, ExpectedQueue

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=timezone.utc)
LEASE = timedelta(seconds=10)
TASKS = ["tests.project.tasks.append_first", "tests.project.tasks.append_second"] * 2

# Few jobs and workers, so that they meet often.
MOST_JOBS, MOST_WORKERS = 3, 4

ANY = st.integers(0, 11)  # which one of those that there are
LATELY = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5, 8])  # which claim, counted from the last one
SECONDS = st.sampled_from([0, 0, 3, 60])
KINDS = ["completed", "advanced", "failed", "requeued", "retried", "snoozed", "until", "crashed"]
KINDS += ["called off"]
FROM_OUTSIDE = ["cancel", "rerun", "rerun", "prune", "claim by 3.3", "requeue an orphan"]
DEATHS = ["crash", "crash of all", "nobody knows", "made to end", "overran"]


class Verbs(RuleBasedStateMachine):
    """Draws steps. What is done with a step is up to the subclasses."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.expected = ExpectedQueue()
        self.claims: list[Job] = []  # as they were claimed, however long ago
        self.sent: dict[tuple[UUID, int], Outcome] = {}  # an attempt has one outcome
        self.known: set[UUID] = set()
        self.tokens: dict[UUID, int] = {}
        self.ticks = count(1)
        self.now = NOW
        self.clear()

    def clear(self) -> None:
        for model in (Job, Attempt, WorkerProcess):
            model.objects.all().delete()

    teardown = clear

    def take(self, step: steps.Step) -> None:
        raise NotImplementedError

    def moment(self) -> datetime:
        """The next time: no two steps are taken in the same microsecond."""
        self.now += timedelta(milliseconds=1)
        return self.now

    # What there is to act on

    def some_worker(self, which: int) -> int:
        """A registered worker, or one that was taken for dead and does not know it."""
        known = sorted(self.workers)
        return known[which % len(known)]

    @property
    def is_any_held(self) -> bool:
        return any(job.state in HELD for job in self.expected.jobs.values())

    def last_seen(self) -> list[datetime]:
        return list(self.expected.last_seen.values())

    def some_claim(self, which: int) -> Job:
        return self.claims[-1 - which % len(self.claims)]

    def some_job(self, which: int) -> UUID:
        """One of the last that were enqueued, be it deleted in the meantime."""
        known = sorted(self.known)[-MOST_JOBS - 1 :]
        return known[which % len(known)]

    def some_holder(self, which: int) -> int:
        """One that has something in its hands, if there is any."""
        jobs = self.expected.jobs.values()
        holders = sorted(job.worker for job in jobs if job.state in HELD and job.worker)
        return holders[which % len(holders)] if holders else self.some_worker(which)

    # Enter

    @initialize()
    def begin(self) -> None:
        self.workers: set[int] = set()
        for _ in range(2):
            self.register(threads=2)
            self.enqueue(priority=0, delay=None)

    @precondition(lambda self: len(self.workers) < MOST_WORKERS)
    @rule(threads=st.sampled_from([1, 2]))
    def register(self, threads: int) -> None:
        now = self.moment()
        worker = self.engine.register(
            hostname="host", pid=7, queues=["default"], now=now, threads=threads
        ).pk
        assert worker not in self.workers
        self.workers.add(worker)
        self.expected.threads[worker], self.expected.last_seen[worker] = threads, now

    @precondition(lambda self: len(self.expected.jobs) < MOST_JOBS)
    @rule(priority=st.sampled_from([0, 0, 5]), delay=st.sampled_from([None, None, 3, 60]))
    def enqueue(self, priority: int, delay: int | None) -> None:
        run_after = None if delay is None else self.moment() + timedelta(seconds=delay)
        job = queue.enqueue("model", priority=priority, run_after=run_after)
        self.expected.jobs[job.pk] = ExpectedJob(priority, run_after)
        self.known.add(job.pk)

    # Time

    @rule(seconds=st.sampled_from([1, 5, 30, 100]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(which=ANY)
    def beat(self, which: int) -> None:
        worker, now = self.some_worker(which), self.moment()
        is_dead = worker not in self.expected.threads
        assert self.engine.heartbeat([worker], now=now) == ({worker} if is_dead else set())
        if not is_dead:
            self.expected.last_seen[worker] = now

    # Work

    @rule(which=LATELY, limit=st.integers(1, 3))
    def claim(self, which: int, limit: int) -> None:
        self.take(steps.Claim(self.some_worker(which), limit, self.moment()))

    @precondition(lambda self: self.claims)
    @rule(
        whiches=st.lists(LATELY, min_size=1, max_size=3),
        kinds=st.lists(st.sampled_from(KINDS), min_size=3, max_size=3),
        seconds=SECONDS,
    )
    def acknowledge(self, whiches: list[int], kinds: list[str], seconds: int) -> None:
        self.take(self.draw_acknowledge(whiches, kinds, seconds))

    @rule(which=LATELY, kind=st.sampled_from(KINDS), seconds=SECONDS)
    def work(self, which: int, kind: str, seconds: int) -> None:
        """What a worker does all day."""
        before = len(self.claims)
        self.claim(which, limit=1)
        if len(self.claims) > before:
            self.acknowledge_one(0, kind, seconds)

    @precondition(lambda self: self.claims)
    @rule(which=LATELY, kind=st.sampled_from(KINDS), seconds=SECONDS)
    def acknowledge_one(self, which: int, kind: str, seconds: int) -> None:
        self.take(self.draw_acknowledge([which], [kind], seconds))

    def draw_acknowledge(self, whiches: list[int], kinds: list[str], seconds: int) -> steps.Step:
        batch: dict[UUID, tuple[Job, Outcome]] = {}
        for which, kind in zip(whiches, kinds):
            job = self.some_claim(which)
            attempt = (job.pk, job.token)
            if attempt not in self.sent:
                self.sent[attempt] = self.outcome(kind, job, timedelta(seconds=seconds))
            if not batch or next(iter(batch.values()))[0].worker_id == job.worker_id:
                batch[job.pk] = (job, self.sent[attempt])
        return steps.Acknowledge(list(batch.values()), self.moment())

    def outcome(self, kind: str, job: Job, after: timedelta) -> Outcome:
        tick = next(self.ticks)
        # Those that change the workspace go by another statement.
        changes = {"workspace": {"by": str(job.token)}} if tick % 2 else {}
        began = NOW + timedelta(microseconds=tick)
        story = Failure("t", job.attempts, "E", "no luck", "…", began, began)
        if kind == "advanced" and (job.task_index or 0) + 1 < len(TASKS):
            place = (job.task_index or 0) + 1
            return Advanced(changes, next_task=TASKS[place], task_index=place)
        return {
            "completed": Completed(changes),
            "advanced": Completed(changes),
            "failed": Failed(changes, story=story),
            "requeued": Requeued(changes, story=story),
            "retried": Retried(changes, story=story, after=after),
            "snoozed": Snoozed(changes, attempts=job.attempts - 1, after=after),
            "until": Snoozed(changes, attempts=job.attempts - 1, until=self.now + after),
            "crashed": Crashed(
                changes,
                story=story,
                attempts=job.attempts - 1,
                crashes=job.crashes + 1,
                after=after,
            ),
            "called off": CalledOff(changes),
        }[kind]

    @precondition(lambda self: self.claims)
    @rule(which=LATELY, is_started=st.booleans())
    def hand_back(self, which: int, is_started: bool) -> None:
        self.take(steps.HandBack(self.some_claim(which), is_started, self.moment()))

    @precondition(lambda self: self.is_any_held)
    @rule(which=ANY, mask=st.integers(0, 7))
    def hand_back_unknown(self, which: int, mask: int) -> None:
        worker = self.some_holder(which)
        held = self.expected.held_by(worker)
        known = [pk for number, pk in enumerate(held) if mask >> number & 1]
        self.take(steps.HandBackUnknown(worker, known, self.moment()))

    @precondition(lambda self: self.claims)
    @rule(which=LATELY)
    def stop(self, which: int) -> None:
        self.take(steps.MarkStopping(self.some_claim(which), self.moment()))

    # Death

    @precondition(lambda self: self.is_any_held)
    @rule(which=ANY, kind=st.sampled_from(DEATHS))
    def rescue(self, which: int, kind: str) -> None:
        worker = self.some_holder(which)
        self.take(steps.Rescue(worker, self.death(kind, worker), self.moment()))

    @precondition(lambda self: self.claims)
    @rule(kind=st.sampled_from(DEATHS))
    def die_while_stopping(self, kind: str) -> None:
        self.stop(0)
        worker = self.some_claim(0).worker_id
        self.take(steps.Rescue(worker, self.death(kind, worker), self.moment()))

    def death(self, kind: str, worker: int) -> Death:
        held = self.expected.held_by(worker)
        return {
            "crash": Death("host:7", kind, was_running=frozenset(held[:1])),
            "crash of all": Death("host:7", kind, was_running=frozenset(held)),
            "nobody knows": Death("host:7", kind),
            "made to end": Death("host:7", kind, was_running=frozenset(held[:1]), is_crash=False),
            "overran": Death(
                "host:7",
                kind,
                was_running=frozenset(held),
                overran=frozenset(held[-1:]),
                is_crash=False,
            ),
        }[kind]

    @precondition(
        lambda self: min(self.expected.last_seen.values(), default=NOW) < self.now - LEASE
    )
    @rule()
    def rescue_the_silent(self) -> None:
        for worker in self.engine.silent_workers(since=self.now - LEASE):
            self.take(steps.Rescue(worker, self.death("nobody knows", worker), self.moment()))

    # From outside: one rule, or there would be little else

    @precondition(lambda self: self.known)
    @rule(which=ANY, how=st.sampled_from(FROM_OUTSIDE))
    def from_outside(self, which: int, how: str) -> None:
        job = self.some_job(which)
        step: steps.Step
        if how == "cancel":
            step = steps.Cancel(job)
        elif how == "rerun":
            final = [pk for pk, other in self.expected.jobs.items() if other.state in FINAL]
            step = steps.Rerun(final[which % len(final)] if final else job)
        elif how == "prune":
            step = steps.Prune(limit=1 + which % 3)
        elif how == "claim by 3.3":
            step = steps.ClaimBy33(job)
        else:
            step = steps.RequeueOrphan(next(iter(self.expected.held_by(None)), job), self.moment())
        self.take(step)

    # What is always true

    @invariant()
    def the_database_is_as_expected(self) -> None:
        assert steps.differences(self.expected, self.known) == {}

    @invariant()
    def tokens_never_decrease(self) -> None:
        tokens = dict(Job.objects.values_list("pk", "token"))
        assert all(token >= self.tokens.get(pk, 0) for pk, token in tokens.items())
        self.tokens.update(tokens)

    @invariant()
    def each_held_job_has_one_holder_and_all_held_jobs_are_found(self) -> None:
        held = list(Job.objects.filter(state__in=["PROCESSING", "STOPPING"]))
        owned = [job for job in held if job.worker_id is not None]
        for job in owned:
            holders = [
                claim
                for claim in self.claims
                if (claim.pk, claim.token, claim.worker_id) == (job.pk, job.token, job.worker_id)
            ]
            assert len(holders) == 1
        gone = {job.worker_id for job in owned} - set(self.expected.threads)
        assert set(self.engine.vanished_workers()) == gone
        assert set(self.engine.orphans()) == {job.pk for job in held} - {job.pk for job in owned}

    @invariant()
    def the_silent_are_those_who_have_not_been_heard(self) -> None:
        silent = {
            worker for worker, seen in self.expected.last_seen.items() if seen < self.now - LEASE
        }
        assert set(self.engine.silent_workers(since=self.now - LEASE)) == silent
