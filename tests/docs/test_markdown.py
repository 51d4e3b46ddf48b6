"""Links between our Markdown files lead somewhere, and their Python compiles."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.md")
    # Not ours: virtual environments and what tools keep, all below a dot.
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)

FENCE = re.compile(r"^( *)(```+|~~~+)([^\n]*)\n(.*?)^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(
    r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE
)
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")  # https:, mailto: …


def prose(page: Path) -> str:
    """The page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", (ROOT / page).read_text()))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, made as the usual forges make them."""
    text = FENCE.sub("", (ROOT / page).read_text())
    headings = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", found) for found in HEADING.findall(text))
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return set(plain) | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def broken_links(page: Path) -> list[str]:
    links = (inline or reference for inline, reference in LINK.findall(prose(page)))
    return [link for link in links if not ELSEWHERE.match(link) and not resolves(page, link)]


def resolves(page: Path, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in anchors(target)


def python_snippets(page: Path) -> list[str]:
    """Blocks fenced as `python`. Sessions with >>> are `pycon`, and not looked at here."""
    fences = FENCE.findall((ROOT / page).read_text())
    return [textwrap.dedent(code) for _, _, info, code in fences if info.strip() == "python"]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    assert not broken_links(page)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_python_snippets_compile(page):
    for snippet in python_snippets(page):
        ast.parse(snippet, filename=str(page))
