"""`python -m benchmarks.rivals`: measure rivals beside ours, print a table, keep it if asked to."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType

from benchmarks import machine
from benchmarks.rivals import measure, report, stores
from benchmarks.rivals.rival import Rival, Variant
from benchmarks.rivals.rooms import NotMeasuredError, Room, interpreter_version
from tests.databases import INTERRUPTED, NO_SERVER, NoServer

ADAPTERS = Path(__file__).resolve().parent / "adapters"
CACHE = machine.REPOSITORY / ".bench-rivals"
RUNS = 5
SINGLE_JOBS, QUICK_SINGLE_JOBS = 100, 10
SINGLE_SECONDS, QUICK_SINGLE_SECONDS = 20.0, 4.0  # the most that these shall take


def main() -> int:
    arguments = parse_arguments()
    rivals = {key: adapter(key) for key in arguments.only}
    if arguments.list:
        print(report.listing(rivals))
        return 0
    signal.signal(signal.SIGTERM, interrupt)  # an end by which workers and databases go
    try:
        with stores.postgresql_server():
            compare(rivals, arguments)
    except NoServer as reason:
        print(f"NOT MEASURED: {reason}", file=sys.stderr)
        return NO_SERVER
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    known = sorted(path.stem for path in ADAPTERS.glob("*.py") if path.stem != "__init__")
    parser.add_argument("--only", metavar="A,B", help="default: all; --list names them")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each; default: {RUNS}")
    parser.add_argument("--quick", action="store_true", help="one short run: does it work?")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results/")
    parser.add_argument("--list", action="store_true", help="say what would be measured")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rivals are installed")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",") if arguments.only else known
    if unknown := set(arguments.only) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    if arguments.quick:
        arguments.runs = 1
    return arguments


def adapter(key: str) -> Rival:
    rival: Rival = import_module(f"benchmarks.rivals.adapters.{key}").RIVAL
    return rival


def compare(rivals: dict[str, Rival], arguments: argparse.Namespace) -> None:
    about = {**machine.about_the_machine(), **stores.about_the_servers()}
    about["Python"] = interpreter_version()
    del about["Django"]  # that of the harness; each rival has one of its own
    about["runs"] = (
        "1, short: for trying the benchmark out"
        if arguments.quick
        else f"{arguments.runs} of each, in turn; medians"
    )
    before = machine.load()
    found = measured(rivals, arguments)
    about["load"] = f"{before} → {machine.load()}"
    print(report.as_text(about, rivals, found))
    if arguments.save:
        print(f"Written: {report.save(about, rivals, found)}")


def measured(rivals: dict[str, Rival], arguments: argparse.Namespace) -> report.Found:
    """Everything that was found. What fails is noted with its reason, and the rest goes on."""
    found: report.Found = {
        (key, variant.name): measure.Measured()
        for key, rival in rivals.items()
        for variant in rival.variants
    }
    rooms = [Room(key, rival, arguments.cache) for key, rival in rivals.items()]
    try:
        for room in rooms:
            say(f"installing {room.key}")
            with noting_failures([found[room.key, each.name] for each in room.rival.variants]):
                room.install()
                room.prepare()
        for number in range(arguments.runs):
            for room, variant in turns(rooms):
                one = found[room.key, variant.name]
                if not one.reason:
                    say(f"run {number + 1}: {room.key}, {variant.name}")
                    with noting_failures([one]):
                        run(room, variant, one, quick=arguments.quick)
    finally:
        for room in rooms:
            with suppress(Exception):
                room.drop()
    return found


def turns(rooms: list[Room]) -> Iterator[tuple[Room, Variant]]:
    """One round: the first variant of each, then the second of each, and so on."""
    for number in range(max(len(room.rival.variants) for room in rooms)):
        for room in rooms:
            if number < len(room.rival.variants):
                yield room, room.rival.variants[number]


def run(room: Room, variant: Variant, one: measure.Measured, *, quick: bool) -> None:
    if quick:
        drained = measure.probe(room, variant)
    else:
        one.jobs = one.jobs or measure.enough(measure.probe(room, variant).rate)
        drained = measure.drain(room, variant, one.jobs)
    one.rates.append(drained.rate)
    say(f"    {drained.jobs:,} jobs in {drained.seconds:.1f} s: {drained.rate:,.0f} a second")
    if variant.latency:
        # A worker that takes a second for a job is idle only if the next one comes later.
        pause = max(measure.PAUSE_SECONDS, 3 / drained.rate)
        most = QUICK_SINGLE_JOBS if quick else SINGLE_JOBS
        longest = QUICK_SINGLE_SECONDS if quick else SINGLE_SECONDS
        count = min(most, max(2, int(longest / pause)))
        one.latencies += measure.latencies(room, variant, count, pause)
        say(f"    {report.percentile(one.latencies, 50):,.1f} ms from enqueue to start")


@contextmanager
def noting_failures(found: list[measure.Measured]) -> Iterator[None]:
    """A rival that fails is reported, and does not stop the others."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, NotMeasuredError) else repr(error)
        for each in found:
            each.reason = reason
        say(f"    NOT MEASURED: {reason}")


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
