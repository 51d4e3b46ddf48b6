"""Every promise of 3.3 has a test here that bears its number."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

# C3 is best effort on Windows, without automated tests.
PROMISES = sorted({*range(1, 41)} - {3})
PROMISES_WITH_A_LETTER = ["06a", "14a", "37a"]
NUMBERS = [f"{number:02}" for number in PROMISES] + PROMISES_WITH_A_LETTER


def names_of_tests():
    for path in Path(__file__).parent.glob("test_*.py"):
        if path != Path(__file__):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    yield node.name


@pytest.mark.parametrize("number", NUMBERS)
def test_every_promise_has_a_test(number):
    assert any(name.startswith(f"test_c{number}_") for name in names_of_tests())


def test_every_test_belongs_to_a_promise():
    numbers = "|".join(NUMBERS)
    strays = [name for name in names_of_tests() if not re.match(rf"test_c({numbers})_\w", name)]

    assert strays == []
