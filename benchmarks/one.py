"""Measure one database. Started by `python -m benchmarks`, which finds the server."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType

import django


def interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)  # an end by which the databases are dropped
    django.setup()

    from benchmarks import figures, machine, table

    found = []
    with table.databases():
        about = machine.about_the_database("default")
        for name in arguments.names:
            before = machine.load()
            benchmark = import_module(f"benchmarks.{name}")
            for section in benchmark.run(runs=arguments.runs, quick=arguments.quick):
                print(figures.section_as_markdown(section), flush=True)
                found.append(section.as_dict())
            about[f"load at {name}"] = f"{before} → {machine.load()}"
    arguments.output.write_text(json.dumps({"about": about, "sections": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
