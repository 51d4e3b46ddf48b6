"""What the import contracts of pyproject.toml cannot say; `make check` runs those."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_dbq

PACKAGE = Path(django_dbq.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

# Only these may ask which database this is.
VENDOR_QUESTIONS = {"vendor", "display_name", "mysql_is_mariadb"}
MAY_ASK_FOR_THE_VENDOR = ("engines/", "migrations/", "models/indexes.py", "models/unique.py")

# Rules are values and pure functions. What they take from Django's database package, if anything,
# is a value too: TextChoices is an enum.
DATABASE_NAMES_FOR_RULES = {"django.db.models.TextChoices"}

VAGUE_NAMES = {"utils", "helpers", "common", "misc"}


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Every name that a module imports, dotted: `from a.b import c` gives a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parse(module: Path) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text())


def names_in_code(tree: ast.AST) -> Iterator[str]:
    """The attributes and names that the code uses; comments and docstrings may speak freely."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Name):
            yield node.id


def test_the_package_was_found():
    assert Path("rules/states.py") in MODULES


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_only_engines_and_migrations_ask_which_database_this_is(module):
    if module.as_posix().startswith(MAY_ASK_FOR_THE_VENDOR):
        return
    questions = VENDOR_QUESTIONS & set(names_in_code(parse(module)))
    assert not questions, f"{module} asks for the vendor; ask engine_for(using) for a verb instead"


@pytest.mark.parametrize("module", [m for m in MODULES if m.parts[0] == "rules"], ids=str)
def test_rules_never_query(module):
    from_database = {
        name for name in imported_names(parse(module)) if (name + ".").startswith("django.db.")
    }
    assert from_database <= DATABASE_NAMES_FOR_RULES, f"{module} reaches for the database"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_is_named_after_what_it_holds(module):
    vague = VAGUE_NAMES & {part.strip("_") for part in module.with_suffix("").parts}
    assert not vague, f"{module}: a name like {', '.join(vague)} says nothing; name the concept"
