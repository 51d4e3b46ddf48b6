"""What was found, as one table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import as_markdown
from benchmarks.rivals.measure import Measured
from benchmarks.rivals.rival import Rival

RESULTS = Path(__file__).resolve().parent.parent / "results"

Found = dict[tuple[str, str], Measured]  # by rival and variant

HEADER = ("queue", "version", "jobs in", "keeps jobs", "worker", "jobs/s", "lowest to highest", "p50 ms", "p99 ms")


def as_text(about: dict[str, str], rivals: dict[str, Rival], found: Found) -> str:
    rows = []
    for key, rival in rivals.items():
        for variant in rival.variants:
            one = found[key, variant.name]
            keeps = {True: "yes", False: "no", None: ""}[rival.keeps_jobs]
            rows.append((rival.name, rival.version, rival.store.name, keeps, variant.name, *cells(one)))
    return as_markdown(("", ""), about.items()) + "\n\n" + as_markdown(HEADER, rows)


def cells(one: Measured) -> tuple[str, str, str, str]:
    if one.reason:
        return f"not measured: {one.reason}", "", "", ""
    spread = f"{min(one.rates):,.0f} to {max(one.rates):,.0f}" if one.rates[1:] else ""
    times = [f"{percentile(one.latencies, p):,.1f}" if one.latencies else "" for p in (50, 99)]
    return f"{statistics.median(one.rates):,.0f}", spread, times[0], times[1]


def percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def listing(rivals: dict[str, Rival]) -> str:
    rows = [
        (key, rival.version, rival.store.name, variant.name, variant.settings)
        for key, rival in rivals.items()
        for variant in rival.variants
    ]
    return as_markdown(("adapter", "version", "jobs in", "worker", "settings"), rows)


def save(about: dict[str, str], rivals: dict[str, Rival], found: Found) -> None:
    path = RESULTS / f"rivals-{about['date']}-{about['commit']}.md"
    path.write_text(f"# Rivals, measured on {about['date']}\n\n" + as_text(about, rivals, found))
