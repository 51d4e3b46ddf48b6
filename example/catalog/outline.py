"""What a syntax tree says about a module: its classes and functions, and what it imports."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# A definition can only stand in a block, so expressions, most of the tree, are never walked.
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")


@dataclass
class Outline:
    """Plain values only: it travels in a job's workspace, which is JSON."""

    docstring: str = ""
    definitions: list[tuple[str, str, int]] = field(default_factory=list)
    """(kind, qualified name, line) in the order of the source."""
    imports: list[str] = field(default_factory=list)
    """Absolute names of modules, each once, in alphabetical order."""


def outline_of(
    tree: ast.Module, *, module: str, is_package: bool, is_module: Callable[[str], bool]
) -> Outline:
    """The outline of `module`; `is_module` tells whether a dotted name is one of the library.

    Without it nobody could say whether `from test import support` imports a module or a name.
    """
    docstring = ast.get_docstring(tree) or ""
    first_paragraph = docstring.partition("\n\n")[0]
    outline = Outline(docstring=printable(" ".join(first_paragraph.split())))
    imported = set()
    for node, scope, in_class in _statements(tree, "", False):
        if isinstance(node, ast.ClassDef):
            outline.definitions.append(("class", scope + node.name, node.lineno))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            kind = "method" if in_class else "function"
            outline.definitions.append((kind, scope + node.name, node.lineno))
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _imported_from(node, module, is_package)
            if base:
                submodules = (f"{base}.{alias.name}" for alias in node.names)
                imported.update({base}, filter(is_module, submodules))
    outline.imports = sorted(imported - {module})
    return outline


def _statements(node: ast.AST, scope: str, in_class: bool) -> Iterator[tuple[ast.AST, str, bool]]:
    """Each statement below `node`, with the dotted scope it stands in, and whether in a class."""
    for block in BLOCKS:
        for child in getattr(node, block, ()):
            yield child, scope, in_class
            if isinstance(child, ast.ClassDef):
                yield from _statements(child, f"{scope}{child.name}.", True)
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from _statements(child, f"{scope}{child.name}.", False)
            else:
                yield from _statements(child, scope, in_class)


def _imported_from(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The module that `from … import` names; a relative one is resolved against `module`."""
    if not node.level:
        return node.module or ""
    steps_up = node.level - 1 if is_package else node.level
    parents = module.split(".")
    base = parents[: len(parents) - steps_up] if steps_up < len(parents) else []
    return ".".join(base + ([node.module] if node.module else []))


def printable(text: str) -> str:
    """Text that every database can store: no NUL, no half of a surrogate pair."""
    return (
        text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
    )
