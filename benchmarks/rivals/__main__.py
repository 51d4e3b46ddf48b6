"""`python -m benchmarks.rivals`: measure each rival beside ours, print a table, keep it if asked to."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType

from benchmarks import machine
from benchmarks.rivals import measure, report
from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.rooms import NotMeasuredError, Room, interpreter

ADAPTERS = Path(__file__).resolve().parent / "adapters"
CACHE = machine.REPOSITORY / ".bench-rivals"
RUNS = 5
SECONDS = 4.0  # that a run shall take
SINGLE_JOBS = 100
SINGLE_SECONDS = 20.0  # the most that these may take


def main() -> int:
    arguments = parse_arguments()
    rivals = {key: adapter(key) for key in arguments.only}
    if arguments.list:
        print(report.listing(rivals))
        return 0
    signal.signal(signal.SIGTERM, interrupt)  # an end by which workers and databases go
    about = machine.about_the_machine()
    about["Python of the rivals"] = interpreter()
    before = machine.load()
    found = measured(rivals, arguments)
    about["runs"] = f"{arguments.runs} of each, in turn"
    about["load"] = f"{before} → {machine.load()}"
    print(report.as_text(about, rivals, found))
    if arguments.save:
        print(f"Written: {report.save(about, rivals, found)}")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    known = keys()
    parser.add_argument("--only", type=lambda given: given.split(","), default=known, metavar="A,B")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each; default: {RUNS}")
    parser.add_argument("--quick", action="store_true", help="one short run: does it work?")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results/")
    parser.add_argument("--list", action="store_true", help="say what would be measured")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rivals are installed")
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    if arguments.quick:
        arguments.runs = 1
    return arguments


def keys() -> list[str]:
    return sorted(path.stem for path in ADAPTERS.glob("*.py") if path.stem != "__init__")


def adapter(key: str) -> Rival:
    rival: Rival = import_module(f"benchmarks.rivals.adapters.{key}").RIVAL
    return rival


def measured(rivals: dict[str, Rival], arguments: argparse.Namespace) -> report.Found:
    """Everything that was found. What fails is noted with its reason, and the rest goes on."""
    found: report.Found = {
        (key, variant.name): measure.Measured()
        for key, rival in rivals.items()
        for variant in rival.variants
    }
    rooms = {key: Room(key, rival, arguments.cache) for key, rival in rivals.items()}
    try:
        for room in rooms.values():
            with noting_failures(room.key, [found[room.key, v.name] for v in room.rival.variants]):
                say(f"installing {room.key}")
                room.install()
                room.prepare()
        for number in range(arguments.runs):
            for room, variant in turns(rooms):
                one = found[room.key, variant.name]
                if not one.reason:
                    say(f"run {number + 1}: {room.key}, {variant.name}")
                    with noting_failures(f"{room.key}, {variant.name}", [one]):
                        run(room, variant, one, quick=arguments.quick)
    finally:
        for room in rooms.values():
            with suppress(Exception):
                room.drop()
    return found


def turns(rooms: dict[str, Room]) -> Iterator[tuple[Room, Variant]]:
    """One round: the first variant of each, then the second of each, and so on."""
    longest = max(len(room.rival.variants) for room in rooms.values())
    for number in range(longest):
        for room in rooms.values():
            if number < len(room.rival.variants):
                yield room, room.rival.variants[number]


def run(room: Room, variant: Variant, one: measure.Measured, *, quick: bool) -> None:
    if not one.jobs:
        one.jobs = measure.size(room, variant, 1.0 if quick else SECONDS)
    drained = measure.drain(room, variant, one.jobs)
    one.rates.append(drained.rate)
    say(f"    {drained.rate:,.0f} jobs/s ({drained.jobs:,} in {drained.seconds:.1f} s)")
    if variant.latency:
        # A worker that takes a second for a job is idle only if the next one comes later.
        pause = max(measure.PAUSE_SECONDS, 3 / drained.rate)
        count = min(10 if quick else SINGLE_JOBS, max(3, int(SINGLE_SECONDS / pause)))
        one.latencies += measure.latencies(room, variant, count, pause)
        say(f"    {report.percentile(one.latencies, 50):,.1f} ms from enqueue to start")


class noting_failures:  # noqa: N801 (used like a function)
    """A rival that fails is reported, and does not stop the others."""

    def __init__(self, what: str, found: list[measure.Measured]) -> None:
        self.what = what
        self.found = found

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        reason = str(error) if isinstance(error, NotMeasuredError) else repr(error)
        for each in self.found:
            each.reason = reason
        say(f"NOT MEASURED: {self.what}: {reason}")
        return True


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
