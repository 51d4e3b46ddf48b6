from __future__ import annotations

import ast

import pytest

from example.catalog.outline import outline_of, printable
from tests.example.conftest import FILES


def outline(source: str, module: str = "package.module", is_package: bool = False):
    return outline_of(
        ast.parse(source),
        module=module,
        is_package=is_package,
        is_module={"p.sub", "q.sub", ".sub"}.__contains__,
    )


def test_definitions_are_found_wherever_they_stand():
    assert outline(FILES["alpha.py"]).definitions == [
        ("class", "Shape", 6),
        ("method", "Shape.area", 7),
        ("function", "Shape.area.inner", 8),
        ("method", "Shape.wait", 12),
        ("function", "conditional", 17),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "if x:\n pass\nelse:\n def f(): pass",
        "try:\n pass\nexcept E:\n def f(): pass",
        "try:\n pass\nfinally:\n def f(): pass",
        "for x in y:\n pass\nelse:\n def f(): pass",
        "with x:\n def f(): pass",
        "while x:\n async def f(): pass",
    ],
)
def test_a_definition_in_any_kind_of_block_is_found(source):
    assert [(kind, name) for kind, name, _ in outline(source).definitions] == [("function", "f")]


@pytest.mark.parametrize(
    ("source", "module", "is_package", "imported"),
    [
        ("import a.b, c as d", "m", False, ["a.b", "c"]),
        ("from a.b import c, d", "m", False, ["a.b"]),
        ("from . import c", "p.m", False, ["p"]),
        ("from . import c", "p", True, []),  # itself
        ("from . import c, sub", "p", True, ["p.sub"]),
        ("from q import c, sub", "m", False, ["q", "q.sub"]),
        ("from .x import c", "p.m", False, ["p.x"]),
        ("from .x import c", "p", True, ["p.x"]),
        ("from ..x import c", "p.q.m", False, ["p.x"]),
        ("from ..x import c", "p.q", True, ["p.x"]),
        ("from .... import c, sub", "p.m", False, []),  # nowhere
        ("import a\nimport a\ndef f():\n import b", "m", False, ["a", "b"]),
    ],
)
def test_imports_are_told_once_and_by_their_absolute_name(source, module, is_package, imported):
    assert outline(source, module, is_package).imports == imported


def test_the_first_paragraph_of_the_docstring_is_kept():
    assert outline('"""First\n  line.\n\nSecond."""').docstring == "First line."
    assert outline("x = 1").docstring == ""


def test_text_that_a_database_cannot_store_is_made_storable():
    assert printable("a\0b\udc80c") == "a\N{REPLACEMENT CHARACTER}b?c"
    assert outline(r'"""half \ud800"""').docstring == "half ?"
