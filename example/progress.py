"""What the run writes on the terminal: pure functions from numbers to lines of text."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_BAR = 40
SHORTEST_BAR = 8
RESET, BOLD, DIM, GREEN, RED, YELLOW = (f"\x1b[{code}m" for code in (0, 1, 2, 32, 31, 33))


@dataclass(frozen=True)
class Snapshot:
    """How far the jobs are at one moment."""

    done: int
    failed: int
    left: int
    elapsed_seconds: float
    jobs_per_second: float

    @property
    def total(self) -> int:
        return self.done + self.failed + self.left

    @property
    def share(self) -> float:
        """Finished of all, from 0 to 1; nothing to do counts as done."""
        return 1 - self.left / self.total if self.total else 1.0


@dataclass(frozen=True)
class Look:
    """What the terminal can show."""

    columns: int = 80
    color: bool = False
    unicode: bool = True

    @property
    def bar_signs(self) -> tuple[str, str, str]:
        """A done, a failed and a missing piece of the bar."""
        return ("█", "▓", "░") if self.unicode else ("#", "!", ".")

    @property
    def dot(self) -> str:
        return "·" if self.unicode else "-"

    @property
    def cross(self) -> str:
        return "✗" if self.unicode else "x"

    @property
    def ellipsis(self) -> str:
        return "…" if self.unicode else "..."

    def painted(self, text: str, *codes: str) -> str:
        return f"{''.join(codes)}{text}{RESET}" if self.color and text else text


def rate_of(samples: list[tuple[float, int]]) -> float:
    """Jobs per second over (seconds, finished jobs) samples, oldest first."""
    if len(samples) < 2:
        return 0.0
    (first_time, first_count), (last_time, last_count) = samples[0], samples[-1]
    passed = last_time - first_time
    return (last_count - first_count) / passed if passed > 0 else 0.0


def cells(snapshot: Snapshot, width: int) -> tuple[int, int, int]:
    """How many cells of a bar are done, failed and missing.

    A failure is always seen, be it one in ten thousand, and a bar is full only when all is over.
    """
    if not snapshot.total:
        return width, 0, 0
    finished = min(width, int(width * snapshot.share))
    if snapshot.left and finished == width:
        finished -= 1
    failed = round(width * snapshot.failed / snapshot.total)
    failed = min(finished, max(failed, 1 if snapshot.failed else 0))
    return finished - failed, failed, width - finished


def bar(snapshot: Snapshot, width: int, look: Look) -> str:
    counts = cells(snapshot, width)
    colors = (GREEN, RED, DIM)
    pieces = zip(look.bar_signs, counts, colors)
    return "".join(look.painted(sign * count, color) for sign, count, color in pieces)


def progress_line(snapshot: Snapshot, look: Look) -> str:
    """One line that fits: a narrow terminal loses the bar first, then what matters less."""
    room = look.columns - 1  # a full line would wrap on some terminals
    percent = f"{int(100 * snapshot.share):3d}%"  # rounded down: 100% is said when all is over
    facts = [
        percent,
        f"{snapshot.jobs_per_second:,.0f} jobs/s",
        f"{snapshot.done:,} done",
        f"{snapshot.failed:,} failed",
        f"{snapshot.left:,} left",
        duration(snapshot.elapsed_seconds),
    ]
    separator = f" {look.dot} "
    text = separator.join(facts)
    bar_width = min(LONGEST_BAR, room - len(text) - 2)
    if bar_width >= SHORTEST_BAR:
        return f"{bar(snapshot, bar_width, look)}  {_colored(facts, separator, snapshot, look)}"
    for shorter in (facts[:5], [facts[0], *facts[2:5]], [facts[0], *facts[3:5]], facts[:1]):
        if len(separator.join(shorter)) <= room:
            return _colored(shorter, separator, snapshot, look)
    return percent.strip()[: max(room, 0)]


def _colored(facts: list[str], separator: str, snapshot: Snapshot, look: Look) -> str:
    bad = f"{snapshot.failed:,} failed"
    return look.painted(separator, DIM).join(
        look.painted(fact, RED) if fact == bad and snapshot.failed else fact for fact in facts
    )


def plain_line(snapshot: Snapshot) -> str:
    """For a log file: no bar, no colour, every word spelt out."""
    return (
        f"{snapshot.done + snapshot.failed:,} of {snapshot.total:,} jobs "
        f"({int(100 * snapshot.share)}%), {snapshot.done:,} done, {snapshot.failed:,} failed, "
        f"{snapshot.left:,} left, {snapshot.jobs_per_second:,.0f} jobs/s, "
        f"{duration(snapshot.elapsed_seconds)}"
    )


def duration(seconds: float) -> str:
    if seconds < 59.95:  # from there on it would be rounded to 60.0
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def shortened(text: str, width: int, look: Look) -> str:
    """At most `width` characters on one line, with a sign that something was cut."""
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    if len(text) <= width:
        return text
    return text[: max(width - len(look.ellipsis), 0)] + look.ellipsis


def storable_by(encoding: str | None, text: str) -> bool:
    """Whether a terminal of that encoding can show the text."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
