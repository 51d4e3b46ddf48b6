"""What the pages say of settings, options, checks, states and commands is what the code says."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import load_command_class
from django.core.management.base import BaseCommand

from django_dbq import checks, exceptions
from django_dbq import settings as dbq_settings
from django_dbq.models import Attempt, Job, WorkerProcess
from django_dbq.rules.declarations import HOOK_KEYS, KNOWN_OPTIONS
from django_dbq.rules.options import RETRY_KEYS
from django_dbq.rules.retry import RetryPolicy
from django_dbq.rules.states import HELD, TRANSITIONS, State
from tests.docs.test_markdown import FENCE, PAGES, ROOT

REFERENCE = Path("docs/reference.md")
RETRIES = Path("docs/how-to/retries-and-timeouts.md")
LIFE_CYCLE = Path("docs/job-life-cycle.md")
README = Path("README.md")
RELIABILITY = Path("docs/reliability.md")
CONTRIBUTING = Path("CONTRIBUTING.md")

COMMANDS = ("worker", "queue_depth", "delete_old_jobs", "orphaned_jobs", "dbq_adopt")
CODE = re.compile(r"`([^`]+)`")


# Reading Markdown


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    text = (ROOT / page).read_text()
    headings = FENCE.sub(lambda block: " " * len(block[0]), text)  # code has lines with # too
    start = re.search(rf"^(#+) {re.escape(heading)}$", headings, re.MULTILINE)
    assert start, f"{page} has no heading {heading!r}"
    end = re.compile(rf"^#{{1,{len(start[1])}}} ", re.MULTILINE).search(headings, start.end())
    return text[start.end() : end.start() if end else None]


def tables(text: str) -> list[list[list[str]]]:
    """The rows of each table, without its head."""
    found: list[list[list[str]]] = []
    within = False
    for line in text.splitlines():
        if not line.startswith("|"):
            within = False
            continue
        if not within:
            found.append([])
            within = True
        found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[2:] for rows in found]


def table(page: Path, heading: str) -> list[list[str]]:
    (rows,) = tables(section(page, heading))
    return rows


def names_in(cell: str) -> list[str]:
    return CODE.findall(cell)


def first_names(rows: list[list[str]]) -> list[str]:
    return [name for row in rows for name in names_in(row[0])]


def test_a_table_is_read_by_its_heading():
    assert tables("text\n| a | b |\n|---|---|\n| `x` | 1 |\n\n| c |\n|---|\n| y |\n") == [
        [["`x`", "1"]],
        [["y"]],
    ]


# Settings


def test_the_reference_has_every_setting_with_its_default():
    told = {row[0].strip("`"): row[1].strip("`") for row in table(REFERENCE, "Settings")}

    assert list(told) == list(dbq_settings.KNOWN_KEYS)
    for field in fields(dbq_settings.QueueSettings):
        value = eval(told[field.name.upper()], {"timedelta": timedelta})  # noqa: S307 (our page)
        assert value == field.default


def test_the_readme_has_every_setting():
    rows = tables(section(README, "Settings and commands"))[0]

    assert first_names(rows) == ["JOBS", *(f'DBQ["{key}"]' for key in dbq_settings.KNOWN_KEYS)]


def test_the_reference_has_every_key_of_a_declaration():
    rows = table(REFERENCE, "Declaring jobs")

    assert first_names(rows) == list(KNOWN_OPTIONS)
    assert [row[0].strip("`") for row in rows if row[1] == "required"] == ["tasks"]


def test_the_page_on_retries_has_every_key_of_a_policy_with_its_default():
    rows = table(RETRIES, "Retry")
    defaults = {row[0].strip("`"): row[1].strip("`") for row in rows}

    assert list(defaults) == list(RETRY_KEYS)
    assert defaults["max_attempts"] == str(RetryPolicy.max_attempts)
    assert defaults["backoff"] == f"{RetryPolicy.backoff.total_seconds():.0f} seconds"
    assert defaults["max_backoff"] == f"{RetryPolicy.max_backoff.total_seconds() / 3_600:.0f} hour"
    assert defaults["jitter"] == str(RetryPolicy.jitter)


def test_the_readme_has_every_hook():
    ordered = [row[1] for row in table(README, "Hooks") if row[1] != "the task"]
    told = [name.partition("(")[0] for cell in ordered for name in names_in(cell)]

    assert sorted(told) == sorted(HOOK_KEYS)


# Commands


def actions(command: str):
    """The arguments that the command itself defines."""
    parser = parser_of(command)
    of_django = {action.dest for action in BaseCommand().create_parser("", "")._actions}
    return [action for action in parser._actions if action.dest not in of_django]


def parser_of(command: str):
    return load_command_class("django_dbq", command).create_parser("manage.py", command)


def names_of(action) -> list[str]:
    return list(action.option_strings) or [action.dest]


def test_the_pages_have_every_command():
    there = {path.stem for path in (ROOT / "django_dbq/management/commands").glob("[!_]*.py")}
    headings = re.findall(r"^### (\w+)$", section(REFERENCE, "Commands"), re.MULTILINE)
    readme = tables(section(README, "Settings and commands"))[1]

    assert set(COMMANDS) == there
    assert tuple(headings) == COMMANDS
    assert tuple(names_in(row[0])[0].split()[1] for row in readme) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_reference_has_every_option_of_a_command(command):
    told = first_names(table(REFERENCE, command))

    assert told == [name for action in actions(command) for name in names_of(action)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_reference_has_the_defaults_of_a_command(command):
    told = {names_in(row[0])[0]: row[1].strip("`") for row in table(REFERENCE, command)}

    for action in actions(command):
        if isinstance(action.default, int) and not isinstance(action.default, bool):
            assert told[names_of(action)[0]] == str(action.default)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_only_options_that_exist(command):
    (row,) = [
        row
        for row in tables(section(README, "Settings and commands"))[1]
        if names_in(row[0])[0].split()[1] == command
    ]
    known = {name for action in actions(command) for name in names_of(action)}

    assert {name for name in names_in(row[1]) if name.startswith("--")} <= known


def command_lines() -> list[tuple[Path, list[str]]]:
    """Every `manage.py` line of ours in the pages: in code blocks, and between backticks."""
    lines = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        blocks = [code for _, _, _, code in FENCE.findall(text)]
        for line in [*"\n".join(blocks).splitlines(), *CODE.findall(FENCE.sub("", text))]:
            found = re.search(rf"manage\.py ({'|'.join(COMMANDS)})\b([^#\n]*)", line)
            if found and "…" not in found[0]:
                lines.append((page, [found[1], *shlex.split(found[2])]))
    return lines


def test_command_lines_were_found():
    assert (README, ["worker"]) in command_lines()


@pytest.mark.parametrize(
    ("page", "line"), command_lines(), ids=lambda value: str(value) if value else ""
)
def test_a_command_line_in_the_pages_is_understood(page, line):
    command, *arguments = line
    parser = parser_of(command)
    parser.called_from_command_line = False  # complain to us, and not to the terminal

    parser.parse_args(arguments)


# Checks and errors


def test_the_reference_has_every_check():
    package = Path(checks.__file__).parent
    source = "".join((package / name).read_text() for name in ("checks.py", "task_backend.py"))
    used = set(re.findall(r"\"(django_dbq\.[EW]\d{3})\"", source))

    assert used
    assert set(first_names(table(REFERENCE, "Checks"))) == used


def test_the_reference_has_every_error_with_what_else_it_is():
    errors = {
        name: kind
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type) and issubclass(kind, exceptions.DBQError)
    }
    del errors["DBQError"]
    rows, _ = tables(section(REFERENCE, "Errors"))

    assert sorted(first_names(rows)) == sorted(errors)
    for row in rows:
        builtin = [kind for kind in errors[names_in(row[0])[0]].__mro__ if is_builtin(kind)]
        assert names_in(row[1])[:1] == [kind.__name__ for kind in builtin[:1]]


def test_the_reference_has_every_interruption():
    kinds = exceptions.JobInterruption.__subclasses__()
    _, rows = tables(section(REFERENCE, "Errors"))

    assert first_names(rows) == [kind.__name__ for kind in kinds]


def is_builtin(kind: type) -> bool:
    return kind.__module__ == "builtins" and kind not in (Exception, BaseException, object)


# Models


def test_the_reference_has_every_field():
    told = [name for rows in tables(section(REFERENCE, "The row")) for name in first_names(rows)]

    assert sorted(told) == sorted(field.name for field in Job._meta.concrete_fields)


def test_the_reference_has_the_fields_that_only_workers_write_in_the_second_table():
    from django_dbq.models.job import WRITTEN_BY_WORKERS

    users, workers = tables(section(REFERENCE, "The row"))

    assert set(first_names(workers)) >= WRITTEN_BY_WORKERS
    assert not set(first_names(users)) & WRITTEN_BY_WORKERS


@pytest.mark.parametrize("model", [Attempt, WorkerProcess])
def test_the_reference_has_the_fields_of_the_other_models(model):
    text = section(REFERENCE, "The row")
    (sentence,) = re.findall(rf"^`{model.__name__}` has a row .*?\.$", text, re.M | re.S)
    fields_of_model = {field.name for field in model._meta.concrete_fields} - {"id"}

    assert set(names_in(sentence)) == fields_of_model | {model.__name__}


# States


def arrows_in_the_code() -> set[tuple[str, str, str]]:
    arrows = {
        (source.value, step.target.value, name)
        for name, step in TRANSITIONS.items()
        for source in step.sources
    }
    return arrows | {("[*]", Job._meta.get_field("state").default.value, "create")}


def diagram_of(page: Path) -> str:
    (diagram,) = [
        code for _, _, kind, code in FENCE.findall((ROOT / page).read_text()) if kind == "mermaid"
    ]
    return str(diagram)


def arrows_in_the_diagram(page: Path) -> list[tuple[str, str, str]]:
    return [
        (source, target, name)
        for source, target, names in re.findall(
            r"^ +(\S+) --> (\S+): (.+)$", diagram_of(page), re.M
        )
        for name in names.split(", ")
    ]


def test_the_diagram_has_exactly_the_arrows_of_the_code():
    drawn = arrows_in_the_diagram(LIFE_CYCLE)

    assert len(drawn) == len(set(drawn))
    assert set(drawn) == arrows_in_the_code()


def test_the_diagram_has_nothing_but_arrows():
    first, *others = diagram_of(LIFE_CYCLE).splitlines()

    assert first == "stateDiagram-v2"
    assert all(" --> " in line for line in others)


def test_the_life_cycle_explains_every_state_and_says_which_are_held():
    rows = table(LIFE_CYCLE, "States")

    assert first_names(rows) == list(State.values)
    assert {name for row in rows if row[1] == "yes" for name in names_in(row[0])} == set(HELD)


def test_the_life_cycle_explains_every_arrow():
    assert [row[0] for row in table(LIFE_CYCLE, "Arrows")] == ["create", *TRANSITIONS]


def test_these_tests_look_at_the_package_that_is_documented():
    assert "django_dbq" in settings.INSTALLED_APPS


# Pages for those who change the code


def test_the_tree_of_the_architecture_page_has_every_module():
    tree = section(Path("ARCHITECTURE.md"), "The tree")
    package = ROOT / "django_dbq"
    modules = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    doors = {path.stem for path in modules if path.parent.name == "commands"}
    missing = [
        path.name
        for path in modules
        if path.parent.name != "migrations" and path.stem not in doors and path.name not in tree
    ]

    assert not missing
    assert all(door in tree for door in doors)


def test_the_tree_of_the_architecture_page_has_nothing_else():
    tree = section(Path("ARCHITECTURE.md"), "The tree")
    there = {path.name for path in (ROOT / "django_dbq").rglob("*.py")} | {"manage.py"}

    assert set(re.findall(r"\w+\.py\b", tree)) <= there


def test_the_contributing_page_has_every_target_of_make():
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = [name.removeprefix("make ") for name in first_names(table(CONTRIBUTING, "The commands"))]

    assert sorted(told) == sorted(targets)


def test_the_contributing_page_has_every_folder_of_tests():
    folders = {f"{path.parent.name}/" for path in (ROOT / "tests").glob("*/__init__.py")}
    rows = table(CONTRIBUTING, "How the tests are laid out")

    assert folders <= set(first_names(rows))


def test_each_test_that_the_page_on_reliability_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", (ROOT / RELIABILITY).read_text())

    assert len(named) > 20
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text() if test else (ROOT / path).exists()
