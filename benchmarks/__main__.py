"""`python -m benchmarks`: measure on each database, print tables, and keep them if asked to."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.figures import Section, as_markdown, section_as_markdown
from tests import databases, provision

NAMES = (
    "drain",
    "doors",
    "asynchronous",
    "latency",
    "every_queue",
    "enqueue",
    "verbs",
    "writes",
    "profile",
    "footprint",
    "twice",
    "claim",
    "flat",
    "retention",
)
TAKES_LONG = ("flat",)
RUNS = 5
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Found:
    """What one database's run found."""

    kind: str
    about: dict[str, str]
    sections: list[Section]

    def as_markdown(self) -> str:
        parts = [section_as_markdown(section) for section in self.sections]
        return "\n".join([f"## {self.kind}\n", _listing(self.about), *parts])


def main() -> int:
    arguments = parse_arguments()
    about = machine.about_the_machine()
    about["runs"] = (
        "1, few rows: for trying the benchmarks out"
        if arguments.quick
        else (f"{arguments.runs} of each, in turn")
    )
    print(_listing(about), flush=True)
    found, status = [], 0
    for kind in arguments.db:
        print(f"## {kind}\n", flush=True)
        try:
            found.append(measure(kind, arguments))
        except databases.NoServer as reason:
            print(f"{kind}: NOT MEASURED: {reason}\n", flush=True)
            status = databases.NO_SERVER
        except KeyboardInterrupt:
            return databases.INTERRUPTED
    if arguments.save and found:
        save(about, found)
    return status


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--db", type=_some_of(databases.KINDS), default=databases.KINDS, help="default: all"
    )
    parser.add_argument(
        "--only",
        type=_some_of(NAMES),
        default=tuple(name for name in NAMES if name not in TAKES_LONG),
        help=f"one or more of {', '.join(NAMES)}; default: all but {', '.join(TAKES_LONG)}",
    )
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each; default: {RUNS}")
    parser.add_argument("--quick", action="store_true", help="one run, few rows: does it work?")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results/")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.runs = 1
    return arguments


def measure(kind: str, arguments: argparse.Namespace) -> Found:
    """Measure in a process of its own: a process of Django's has one DATABASES setting."""
    if kind == "mariadb":
        provision.mariadb()
    with tempfile.TemporaryDirectory(prefix="dbq-bench-") as directory:
        output = Path(directory, "found.json")
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        os.environ["DBQ_BENCH_DIRECTORY"] = directory
        os.environ["DBQ_BENCH_RUN"] = f"{os.getpid()}_{secrets.token_hex(3)}"
        command = [sys.executable, "-m", "benchmarks.one", *arguments.only]
        command += [f"--runs={arguments.runs}", f"--output={output}"]
        status = databases.run(kind, command + ["--quick"] * arguments.quick)
        if status:
            sys.exit(f"{kind}: the benchmarks ended with status {status}")
        found = json.loads(output.read_text())
    return Found(kind, found["about"], [Section.from_dict(each) for each in found["sections"]])


def save(about: dict[str, str], found: list[Found]) -> None:
    path = RESULTS / f"{about['date']}-{about['commit']}.md"
    path.parent.mkdir(exist_ok=True)
    title = f"# Measured on {about['date']}\n"
    text = "\n".join([title, _listing(about), *(each.as_markdown() for each in found)])
    path.write_text(text)
    print(f"Written: {path}")


def _listing(about: dict[str, str]) -> str:
    return as_markdown(("", ""), about.items()) + "\n"


def _some_of(known: tuple[str, ...]) -> object:
    def parse(given: str) -> tuple[str, ...]:
        wanted = tuple(given.split(","))
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)}: choose from {', '.join(known)}"
            )
        return wanted

    return parse


if __name__ == "__main__":
    sys.exit(main())
