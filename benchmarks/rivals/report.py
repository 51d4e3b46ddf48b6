"""What was found: one table, what stands behind its words, and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import shorten

from benchmarks.figures import as_markdown
from benchmarks.rivals.measure import Measured
from benchmarks.rivals.rival import Rival, Variant

RESULTS = Path(__file__).resolve().parent.parent / "results"
KEEPS = {True: "yes", False: "no", None: ""}
HEADER = (
    "queue",
    "version",
    "jobs in",
    "keeps jobs",
    "worker",
    "jobs/s",
    "lowest to highest",
    "ours is",
    "p50 ms",
    "p99 ms",
)
READ_IT_AS = """\
Jobs that do nothing, from a full queue. *Keeps jobs*: the job of a worker that is killed runs again
by itself. *Ours is*: how many times as fast ours is with as many processes. *p50* and *p99*: from
just before the enqueue of a single job to its first line, while the worker has nothing else to do.
"""

Found = dict[tuple[str, str], Measured]  # by the key of the rival and the name of the variant


def as_text(about: dict[str, str], rivals: dict[str, Rival], found: Found) -> str:
    facts = as_markdown(("", ""), about.items())
    table = as_markdown(HEADER, rows(rivals, found))
    notes = "\n".join(f"- {note}" for note in behind(rivals, found))
    return f"{facts}\n\n{READ_IT_AS}\n{table}\n\n{notes}\n"


def rows(rivals: dict[str, Rival], found: Found) -> Iterator[tuple[str, ...]]:
    ours = our_rates(rivals, found)
    for key in fastest_first(rivals, found):
        rival = rivals[key]
        about = rival.name, rival.version, rival.store.name, KEEPS[rival.keeps_jobs]
        for variant in rival.variants:
            yield (
                *about,
                variant.name,
                *cells(found[key, variant.name], ours.get(variant.processes)),
            )


def cells(one: Measured, ours: float | None) -> tuple[str, ...]:
    if not one.rates:
        return "not measured", first_words(one.reason), "", "", ""
    spread = f"{short(min(one.rates))} to {short(max(one.rates))}" if one.rates[1:] else ""
    times = [short(percentile(one.latencies, p)) if one.latencies else "" for p in (50, 99)]
    times_as_fast = f"{short(ours / median(one))} times" if ours else ""
    if one.reason:
        spread += f", then: {first_words(one.reason)}"
    return short(median(one)), spread, times_as_fast, times[0], times[1]


def first_words(reason: str) -> str:
    """What fits into a cell; all of it stands below the table."""
    return shorten(reason.replace("|", "/"), 50, placeholder="…")


def behind(rivals: dict[str, Rival], found: Found) -> Iterator[str]:
    """The settings of each variant, where it is said that jobs are kept or not, and failures."""
    for key, rival in rivals.items():
        said = [f"*{each.name}*: {each.settings}" for each in rival.variants if each.settings]
        if rival.keeps_jobs is not None:
            said.append(f"*keeps jobs*, {KEEPS[rival.keeps_jobs]}: {rival.source}")
        reasons = [found[key, variant.name].reason for variant in rival.variants]
        said += [f"*Not measured*: {reason}" for reason in dict.fromkeys(filter(None, reasons))]
        yield f"**{rival.name}**. {'. '.join(said)}"


def listing(rivals: dict[str, Rival]) -> str:
    return as_markdown(
        ("adapter", "version", "jobs in", "worker", "settings"),
        [
            (key, rival.version, rival.store.name, variant.name, variant.settings)
            for key, rival in rivals.items()
            for variant in rival.variants
        ],
    )


def our_rates(rivals: dict[str, Rival], found: Found) -> dict[int, float]:
    """Our best, by the number of processes."""
    best: dict[int, float] = {}
    for key, rival in rivals.items():
        for variant in rival.variants if rival.is_ours else ():
            if found[key, variant.name].rates:
                rate = median(found[key, variant.name])
                best[variant.processes] = max(rate, best.get(variant.processes, 0.0))
    return best


def fastest_first(rivals: dict[str, Rival], found: Found) -> list[str]:
    return sorted(rivals, key=lambda key: -best_rate(key, rivals[key].variants, found))


def best_rate(key: str, variants: Sequence[Variant], found: Found) -> float:
    measured = [found[key, variant.name] for variant in variants]
    return max((median(one) for one in measured if one.rates), default=0.0)


def median(one: Measured) -> float:
    return statistics.median(one.rates)


def percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def save(about: dict[str, str], rivals: dict[str, Rival], found: Found) -> Path:
    path = RESULTS / f"rivals-{about['date']}-{about['commit']}.md"
    path.parent.mkdir(exist_ok=True)
    title = f"# Beside other queues, on {about['date']}"
    picture = f"![jobs per second]({path.stem}.svg)"
    path.write_text(f"{title}\n\n{picture}\n\n{as_text(about, rivals, found)}")
    path.with_suffix(".svg").write_text(as_svg(rivals, found))
    return path


# The plot: two bars for each queue, its best with one process and its best with two

ROW, BAR, LEFT, WIDTH, RIGHT = 44, 14, 190, 520, 90
RIVALS = {1: "#4c78a8", 2: "#9ecae9"}
OURS = {1: "#d9622b", 2: "#f3b08f"}
LIMITS = {1: "#8a8a8a", 2: "#c8c8c8"}


def as_svg(rivals: dict[str, Rival], found: Found) -> str:
    shown = [
        key for key in fastest_first(rivals, found) if best_rate(key, rivals[key].variants, found)
    ]
    most = max((best_rate(key, rivals[key].variants, found) for key in shown), default=1.0)
    width, height = LEFT + WIDTH + RIGHT, ROW * len(shown) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="10" y="22">No-op jobs per second: the best of each with one process (dark) and '
        "with two (light). Grey is no queue.</text>",
    ]
    for number, key in enumerate(shown):
        parts += _bars(key, rivals[key], found, top=40 + ROW * number, most=most)
    return "\n".join([*parts, "</svg>\n"])


def _bars(key: str, rival: Rival, found: Found, *, top: int, most: float) -> Iterator[str]:
    yield f'<text x="{LEFT - 8}" y="{top + BAR + 5}" text-anchor="end">{rival.name}</text>'
    colours = OURS if rival.is_ours else LIMITS if rival.is_limit else RIVALS
    for number, colour in colours.items():
        variants = [each for each in rival.variants if each.processes == number]
        rate = best_rate(key, variants, found)
        if rate:
            y, length = top + (BAR + 2) * (number - 1), max(1, round(WIDTH * rate / most))
            yield f'<rect x="{LEFT}" y="{y}" width="{length}" height="{BAR}" fill="{colour}"/>'
            yield f'<text x="{LEFT + length + 5}" y="{y + 12}">{short(rate)}</text>'
