"""The whole suite on one database after the other, with a line for each at the end.

    python -m tests.suite [--faults] [sqlite] [postgresql] [mariadb] [-- arguments for pytest]

--faults installs what only the tests of faults need.

One at a time: tests that start worker processes wait for them with deadlines, and two suites on a
small machine would run into these.
"""

from __future__ import annotations

import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from tests import databases, provision


@dataclass(frozen=True)
class Result:
    kind: str
    words: str
    good: bool


def run_suite(kind: str, pytest_arguments: list[str]) -> Result:
    print(f"\n━━━━ {kind}", flush=True)
    if kind == "mariadb":
        provision.mariadb()
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory, "report.xml")
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *pytest_arguments]
        status = databases.run(kind, command)
        if not report.exists():
            return Result(kind, f"pytest ended with status {status}", good=False)
        return result(kind, report, status)


def result(kind: str, report: Path, status: int) -> Result:
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    words = f"{tests - failed - skipped} passed, {failed} failed, {skipped} skipped"
    if status and not failed:
        words += f"; pytest ended with status {status}"
    return Result(kind, words, good=status == 0)


def run_or_excuse(kind: str, pytest_arguments: list[str], *, asked_for: bool) -> Result:
    try:
        return run_suite(kind, pytest_arguments)
    except databases.NoServer as reason:
        # MariaDB cannot be had everywhere; the other two always can.
        excused = kind == "mariadb" and not asked_for
        return Result(kind, f"NOT RUN: {reason}", good=excused)


def main(arguments: list[str]) -> int:
    split = arguments.index("--") if "--" in arguments else len(arguments)
    asked_for, pytest_arguments = arguments[:split], arguments[split + 1 :]
    if "--faults" in asked_for:
        asked_for.remove("--faults")
        provision.faults()
    unknown = set(asked_for) - set(databases.KINDS)
    if unknown:
        known = ", ".join(databases.KINDS)
        print(f"Unknown database: {', '.join(sorted(unknown))}. Known: {known}", file=sys.stderr)
        return 2
    provision.browser()
    results = []
    try:
        for kind in asked_for or databases.KINDS:
            results.append(run_or_excuse(kind, pytest_arguments, asked_for=kind in asked_for))
    except KeyboardInterrupt:
        print("\ninterrupted")
        return databases.INTERRUPTED
    print("\n━━━━ summary")
    for one in results:
        print(f"{one.kind}: {one.words}")
    return 0 if all(one.good for one in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
