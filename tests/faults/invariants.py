"""What must be true at the end of every test, whatever happened in its course.

One function compares what ran (journal.py), what was written (history.py) and what stands in the
table now, and returns each breach as a sentence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from django_dbq.exceptions import WorkerDied
from django_dbq.models import Job
from django_dbq.queue.results import result_of
from django_dbq.rules.states import FINAL, HELD, State
from tests.faults import history, journal

# The clocks of SQLite and of MariaDB's triggers tell milliseconds, and are read before the commit.
CLOCK_SLACK_SECONDS = 0.05


@dataclass
class Findings:
    """What happened in a test, and what should not have."""

    runs: list = field(default_factory=list)
    changes: list = field(default_factory=list)
    states: Counter = field(default_factory=Counter)
    duplicates: Counter = field(default_factory=Counter)  # runs beyond the first that succeeded
    overlaps: int = 0
    breaches: list = field(default_factory=list)

    def require(self, condition, breach):
        if not condition:
            self.breaches.append(breach)


def examine(folder, *, expected=None, deaths=None, may_overlap=False, clock_is_sound=True, slots=1):
    """Look at all jobs.

    `expected`: final states by job id, COMPLETE where nothing else is said; `deaths`: when the
    processes that the test killed died, by id; `may_overlap`: True, or the ids of the processes
    that were frozen or cut off, and went on after their jobs were given to others; `slots`: how
    many jobs a worker ran at a time, at most.
    """
    found = Findings(runs=journal.read(folder), changes=history.changes())
    rows = list(Job.objects.all())
    offset = history.clock_offset() if clock_is_sound else None
    _every_job_is_final(found, rows, expected or {})
    _every_write_is_of_the_claim_that_it_names(found)
    _attempts_and_crashes_are_counted(found, slots)
    _runs_belong_to_claims(found, offset)
    _runs_do_not_overlap(found, deaths or {}, may_overlap)
    _each_step_of_a_complete_job_has_returned(found, rows)
    _atomic_effects_are_there_once(found, rows)
    _django_sees_what_became_of_its_tasks(found, rows)
    return found


def _every_job_is_final(found, rows, expected):
    found.states = Counter(row.state for row in rows)
    for row in rows:
        wanted = expected.get(str(row.pk), State.COMPLETE)
        found.require(
            row.state == wanted, f"LOST: {_name(row.pk)} ({row.name}) is {row.state}, not {wanted}"
        )


def _every_write_is_of_the_claim_that_it_names(found):
    """One write ends each claim, and after the end of a job there is none."""
    highest, endings = defaultdict(int), Counter()
    for change in found.changes:
        job = _name(change.job)
        found.require(
            change.new_token >= change.old_token == max(highest[change.job], change.old_token),
            f"TOKEN: {job} went from {change.old_token} to {change.new_token}, "
            f"and had been at {highest[change.job]}",
        )
        highest[change.job] = max(highest[change.job], change.new_token)
        found.require(
            change.old_state not in FINAL,
            f"AFTER THE END: {job} went from {change.old_state} to {change.new_state}",
        )
        if change.old_state in HELD and change.new_state not in HELD:
            endings[change.job, change.old_token] += 1
            count = endings[change.job, change.old_token]
            found.require(
                count == 1, f"ENDED TWICE: claim {change.old_token} of {job}, {count} times"
            )


def _attempts_and_crashes_are_counted(found, slots):
    charged = Counter()  # by the worker that died
    for change in found.changes:
        job = f"{_name(change.job)}, claim {change.old_token}"
        is_claim = change.old_state not in HELD and change.new_state in HELD
        is_given_back = (
            change.old_state in HELD
            and change.new_state not in FINAL
            and change.new_token > change.old_token
        )
        attempts = change.new_attempts - change.old_attempts
        crashes = change.new_crashes - change.old_crashes
        if is_claim:
            found.require(attempts == 1, f"ATTEMPTS: {job}: {attempts} more by a claim")
            found.require(crashes == 0, f"CRASHES: {job}: {crashes} more by a claim")
        if is_given_back:
            found.require(attempts == -1, f"ATTEMPTS: {job}: {attempts} by being given back")
            found.require(crashes in (0, 1), f"CRASHES: {job}: {crashes} at once")
            charged[change.old_worker_id] += crashes
    for worker_id, count in charged.items():
        found.require(
            count <= slots,
            f"CRASHES: worker {worker_id} ran {slots} jobs at a time, and its death was charged "
            f"to {count}",
        )


def _runs_belong_to_claims(found, offset):
    claimed = {
        (change.job, change.new_token) for change in found.changes if change.new_state in HELD
    }
    starts = Counter((run.job, run.token) for run in found.runs)
    runs = {(run.job, run.token): run for run in found.runs}
    for (job, token), count in starts.items():
        found.require(count == 1, f"STARTED TWICE: claim {token} of {_name(job)}, {count} times")
        found.require((job, token) in claimed, f"UNCLAIMED: {_name(job)} ran with token {token}")
    for change in found.changes:
        run = runs.get((change.job, change.old_token))
        if change.new_state == State.COMPLETE:
            found.require(
                run is not None and run.returned,
                f"STALE: {_name(change.job)} is COMPLETE by claim {change.old_token}, "
                "whose task has not returned",
            )
            if run is not None and run.ended is not None and offset is not None:
                found.require(
                    run.ended + offset <= change.at + CLOCK_SLACK_SECONDS,
                    f"STALE: {_name(change.job)} was COMPLETE by claim {change.old_token} "
                    f"{run.ended + offset - change.at:.3f} s before its task returned",
                )


def _runs_do_not_overlap(found, deaths, may_overlap):
    by_job = defaultdict(list)
    for run in found.runs:
        by_job[run.job].append(run)
    for job, runs in by_job.items():
        for earlier, later in zip(runs, runs[1:]):
            over = deaths.get(earlier.pid) if earlier.ended is None else earlier.ended
            if over is not None and over > later.started:
                found.overlaps += 1
                stale = min(earlier, later, key=lambda run: run.token)  # it may have begun late
                found.require(
                    may_overlap is True or (may_overlap and stale.pid in may_overlap),
                    f"OVERLAP: {_name(job)}: process {earlier.pid} ran claim {earlier.token} for "
                    f"{over - later.started:.3f} s after {later.pid} had begun claim {later.token}",
                )


def _each_step_of_a_complete_job_has_returned(found, rows):
    returned = Counter((run.job, run.place) for run in found.runs if run.returned)
    for row in rows:
        if row.state == State.COMPLETE:
            for place in range(len(row.declaration.tasks)):
                found.require(
                    returned[str(row.pk), place],
                    f"SKIPPED: {_name(row.pk)} ({row.name}) is COMPLETE, and its task {place} "
                    "has never returned",
                )
    for (job, _place), count in returned.items():
        if count > 1:
            found.duplicates[job] += count - 1


def _atomic_effects_are_there_once(found, rows):
    times = Counter(history.effects())
    for row in rows:
        if row.declaration.atomic:
            wanted = 1 if row.state == State.COMPLETE else 0
            found.require(
                times[str(row.pk)] == wanted,
                f"EFFECTS: {_name(row.pk)} ({row.state}) has had its effect "
                f"{times[str(row.pk)]} times",
            )


def _django_sees_what_became_of_its_tasks(found, rows):
    for row in rows:
        if row.backend is None:
            continue
        result, is_complete = result_of(row), row.state == State.COMPLETE
        died = sum(error.exception_class is WorkerDied for error in result.errors)
        found.require(
            (str(result.status), died, result.attempts)
            == ("SUCCESSFUL" if is_complete else "FAILED", row.crashes, row.attempts + row.crashes),
            f"DJANGO: {_name(row.pk)} ({row.name}) is {row.state} after {row.attempts} attempts "
            f"and {row.crashes} crashes; its result is {result.status}, with {result.attempts} "
            f"attempts, and its worker died {died} times",
        )


def _name(job):
    return f"job {str(job)[-8:]}"  # the beginning of a time-ordered id is the same for all
