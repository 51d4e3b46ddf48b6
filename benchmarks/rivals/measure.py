"""The two measurements: how fast a backlog is worked off, and how soon a single job starts."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field

from benchmarks.rivals.rival import Variant
from benchmarks.rivals.rooms import NotMeasuredError, Room, last_words

POLL_SECONDS = 0.05
START_SECONDS = 30.0  # within which the first job must be done
LONGEST_SECONDS = 12  # after which a slow worker has shown enough
FIRST_TRY, MOST_JOBS = 500, 200_000
PROBE_SECONDS, PROBE_LONGEST_SECONDS = 0.5, 3.0
RUN_SECONDS = 4.0
PAUSE_SECONDS = 0.05
IDLE_SECONDS = 1.0


@dataclass
class Measured:
    """What is known about one variant of a rival."""

    jobs: int = 0
    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Drained:
    jobs: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.jobs / max(self.seconds, POLL_SECONDS)


def probe(room: Room, variant: Variant) -> Drained:
    """How fast it is, roughly: ever more jobs, until they take half a second."""
    jobs = FIRST_TRY
    while True:
        drained = drain(room, variant, jobs, longest=PROBE_LONGEST_SECONDS)
        if drained.seconds > PROBE_SECONDS or jobs == MOST_JOBS:
            return drained
        jobs = min(jobs * 8, MOST_JOBS)


def enough(rate: float) -> int:
    """So many jobs keep a worker busy for a run."""
    jobs = min(int(rate * RUN_SECONDS), MOST_JOBS)
    # A multiple of 500 where there are many: what is sent in batches comes out even.
    return jobs // 500 * 500 if jobs >= 1000 else max(50, jobs)


def drain(room: Room, variant: Variant, jobs: int, longest: float = LONGEST_SECONDS) -> Drained:
    """Work off a backlog; from when the first job is seen done to when the last is."""
    room.fill(jobs, variant)
    require_waiting(room, jobs)
    counter = room.rival.store.counter(room.environment)
    with counter as count, room.workers(variant) as processes:
        first = last = (0.0, jobs)
        give_up = time.monotonic() + START_SECONDS
        while last[1] and time.monotonic() < give_up:
            time.sleep(POLL_SECONDS)
            now, left = time.monotonic(), count()
            if left < last[1]:
                if last[1] == jobs:  # one look is no rate: wait for another as long as for this
                    first, give_up = (now, left), now + START_SECONDS
                else:
                    give_up = first[0] + longest
                last = now, left
            elif left:
                require_alive(room, processes)
    if last[1] == jobs:
        raise NotMeasuredError(f"no job done in {START_SECONDS:.0f} s: {log_of(room)}")
    if last == first:  # all at once, faster than we look; or some, and then no more
        return Drained(jobs - last[1], START_SECONDS if last[1] else 0.0)
    return Drained(first[1] - last[1], last[0] - first[0])


def require_waiting(room: Room, jobs: int) -> None:
    with room.rival.store.counter(room.environment) as count:
        if (waiting := count()) != jobs:
            raise NotMeasuredError(f"{jobs} jobs were enqueued, {waiting} are waiting")


def latencies(room: Room, variant: Variant, count: int, pause: float) -> list[float]:
    """From just before the enqueue to the first line of the job, in ms, with an idle worker."""
    room.empty()
    room.starts.unlink(missing_ok=True)
    with room.workers(variant) as processes:
        room.do("trickle", "1", "0", variant=variant)
        wait_for_starts(room, processes, 1)
        time.sleep(IDLE_SECONDS)
        room.do("trickle", str(count + 1), str(pause), variant=variant)
        lines = wait_for_starts(room, processes, count + 2)
    times = sorted(tuple(map(int, line.split())) for line in lines)
    # Neither the worker's first job nor the enqueuer's, which is when that one connects.
    return [(started - sent) / 1e6 for sent, started in times[2:]]


def wait_for_starts(room: Room, processes: list[subprocess.Popen[bytes]], wanted: int) -> list[str]:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        lines = room.starts.read_text().splitlines() if room.starts.exists() else []
        if len(lines) >= wanted:
            return lines
        require_alive(room, processes)
        time.sleep(POLL_SECONDS)
    raise NotMeasuredError(f"{len(lines)} of {wanted} single jobs started: {log_of(room)}")


def require_alive(room: Room, processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is not None:
            raise NotMeasuredError(f"the worker ended by itself: {log_of(room)}")


def log_of(room: Room) -> str:
    return last_words(room.log.read_text(errors="replace"))
