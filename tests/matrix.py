"""The suite on old and new Pythons and Djangos, with the interpreters this machine has.

    python -m tests.matrix [--doors] [sqlite] [postgresql] [mariadb] [-- arguments for pytest]

--doors: the Djangos that bring the Tasks API, and the tests that are about it.

Each pair has a virtual environment of its own, .venv-3.9-4.2 and so on. Needs nothing installed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests import databases

PAIRS = (("3.9", "4.2"), ("3.10", "5.1"), ("3.11", "5.2"), ("3.12", "6.0"), ("3.13", "6.1"))
DJANGO_6 = tuple(pair for pair in PAIRS if pair[1] >= "6")
ABOUT_DOORS = ("tests/doors", "tests/processes/test_django_tasks.py", "tests/docs/test_readme.py")
ROOT = Path(__file__).resolve().parent.parent


def interpreters(version: str) -> Iterator[str]:
    yield f"python{version}"
    yield sys.executable
    for place in (Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"):
        yield str(place)


def find_interpreter(version: str) -> str | None:
    return next((name for name in interpreters(version) if is_version(name, version)), None)


def is_version(name: str, version: str) -> bool:
    # Asked, not believed: pyenv puts commands on the PATH that only say "not chosen".
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [name, "-c", question], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return False
    return answer.stdout.strip() == version


def environment(interpreter: str, python: str, django: str) -> Path:
    """The interpreter of an up-to-date virtual environment for this pair."""
    home = ROOT / f".venv-{python}-{django}"
    stamp = home / ".installed"
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    inside = home / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([ROOT / ".ci/venv", interpreter, home], check=True)
        install = [inside, "-m", "pip", "install", "--quiet", f"Django=={django}.*", "--editable"]
        if subprocess.call([*install, ".[test,test-postgres]"], cwd=ROOT) != 0:
            subprocess.run([*install, ".[test]"], cwd=ROOT, check=True)
        stamp.write_text(wanted)
    return inside


def run_pair(python: str, django: str, arguments: list[str]) -> tuple[str, bool]:
    interpreter = find_interpreter(python)
    if interpreter is None:
        return "SKIPPED: this machine has no such interpreter", True
    print(f"\n━━━━ Python {python}, Django {django}", flush=True)
    try:
        inside = environment(interpreter, python, django)
    except subprocess.CalledProcessError as error:
        return f"FAILED: could not be installed: {error}", False
    status = subprocess.call([inside, "-m", "tests.suite", *arguments], cwd=ROOT)
    return ("passed" if status == 0 else "FAILED"), status == 0


def main(arguments: list[str]) -> int:
    pairs = PAIRS
    if "--doors" in arguments:
        arguments.remove("--doors")
        pairs, arguments = DJANGO_6, [*(arguments or databases.KINDS), "--", *ABOUT_DOORS]
    elif not arguments or arguments[0] == "--":
        arguments = ["sqlite", *arguments]
    results = {pair: run_pair(*pair, arguments) for pair in pairs}
    print("\n━━━━ matrix")
    for (python, django), (words, _) in results.items():
        print(f"Python {python}, Django {django}: {words}")
    return 0 if all(good for _, good in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
