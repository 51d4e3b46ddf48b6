"""Measured figures and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One line of a table: what was measured, its values in each run, and what to make of it."""

    what: str
    values: Sequence[float]
    unit: str
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_cells(self) -> tuple[str, str, str, str]:
        spread = f"{_short(min(self.values))} to {_short(max(self.values))}"
        middle = f"{_short(self.median)} {self.unit}".strip()
        return self.what, middle, spread if len(self.values) > 1 else "", self.note


@dataclass(frozen=True)
class Section:
    """What one benchmark found."""

    title: str
    figures: Sequence[Figure]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Section:
        return cls(given["title"], [Figure(**figure) for figure in given["figures"]])


def interleaved(runs: int, plans: dict[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Run each plan `runs` times, in turn: what slows the machine for a while slows all of them."""
    found: dict[str, list[T]] = {name: [] for name in plans}
    for _ in range(runs):
        for name, plan in plans.items():
            found[name].append(plan())
    return found


def ratio(figure: Figure, base: Figure) -> str:
    return f"{figure.median / base.median:.2f}"


def as_markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that can be read as it is, too."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def section_as_markdown(section: Section) -> str:
    rows = [figure.as_cells() for figure in section.figures]
    table = as_markdown(("measured", "median", "lowest to highest", "note"), rows)
    return f"### {section.title}\n\n{table}\n"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
