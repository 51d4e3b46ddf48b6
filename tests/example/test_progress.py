"""What the run prints, as functions of numbers."""

from __future__ import annotations

import io

import pytest

from example import progress
from example.progress import Look, Snapshot
from example.screen import Screen

HALF = Snapshot(done=890, failed=5, left=895, elapsed_seconds=4.2, jobs_per_second=213.4)
OVER = Snapshot(done=1781, failed=9, left=0, elapsed_seconds=75, jobs_per_second=0)


def test_the_line_has_a_bar_and_all_the_numbers():
    line = progress.progress_line(HALF, Look(columns=120))

    assert line.startswith("█" * 19 + "▓" + "░" * 20 + "  ")
    assert line.endswith(" 50% · 213 jobs/s · 890 done · 5 failed · 895 left · 4.2 s")


@pytest.mark.parametrize("columns", [*range(0, 60), 79, 80, 200])
@pytest.mark.parametrize("snapshot", [HALF, OVER, Snapshot(0, 0, 0, 0, 0)])
def test_the_line_never_wraps(columns, snapshot):
    assert len(progress.progress_line(snapshot, Look(columns=columns))) < max(columns, 1)


def test_a_narrow_terminal_loses_the_bar_first_and_the_share_last():
    assert "█" not in progress.progress_line(HALF, Look(columns=62))
    assert "jobs/s" in progress.progress_line(HALF, Look(columns=62))
    assert "5 failed" in progress.progress_line(HALF, Look(columns=32))
    assert progress.progress_line(HALF, Look(columns=7)) == " 50%"


def test_plain_signs_where_the_terminal_has_no_others():
    line = progress.progress_line(HALF, Look(columns=120, unicode=False))

    assert line.startswith("#" * 19 + "!" + "." * 20)
    assert line.isascii()


def test_colour_changes_no_letter():
    import re

    plain = progress.progress_line(HALF, Look(columns=100))
    colored = progress.progress_line(HALF, Look(columns=100, color=True))

    assert colored != plain
    assert re.sub(r"\x1b\[\d+m", "", colored) == plain


@pytest.mark.parametrize(
    ("done", "failed", "left", "expected"),
    [
        (0, 0, 10_000, (0, 0, 40)),
        (9_999, 0, 1, (39, 0, 1)),  # full only when all is over
        (9_999, 1, 0, (39, 1, 0)),  # one failure in ten thousand is seen
        (0, 1, 9_999, (0, 0, 40)),
        (0, 10, 0, (0, 40, 0)),
        (0, 0, 0, (40, 0, 0)),
    ],
)
def test_the_bar_tells_no_lies(done, failed, left, expected):
    assert progress.cells(Snapshot(done, failed, left, 1, 1), 40) == expected


def test_hundred_percent_is_said_when_all_is_over():
    almost = Snapshot(done=99_999, failed=0, left=1, elapsed_seconds=1, jobs_per_second=1)

    assert " 99%" in progress.progress_line(almost, Look())
    assert "(99%)" in progress.plain_line(almost)
    assert "100%" in progress.progress_line(OVER, Look())


def test_the_plain_line_spells_everything_out():
    assert progress.plain_line(OVER) == (
        "1,790 of 1,790 jobs (100%), 1,781 done, 9 failed, 0 left, 0 jobs/s, 1 min 15 s"
    )


@pytest.mark.parametrize(
    ("samples", "rate"),
    [([], 0), ([(1.0, 5)], 0), ([(1.0, 5), (1.0, 9)], 0), ([(1.0, 5), (2.0, 9), (3.0, 25)], 10)],
)
def test_the_rate_is_that_of_the_samples(samples, rate):
    assert progress.rate_of(samples) == rate


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.96, "10.0 s"), (59.97, "1 min 00 s"), (200, "3 min 20 s")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_a_long_line_is_cut_and_cannot_move_the_cursor():
    assert progress.shortened("abcdef", 4, Look()) == "abc…"
    assert progress.shortened("a\x1b[2Jb\nc", 20, Look()) == "a [2Jb c"
    assert progress.shortened("abc", 3, Look()) == "abc"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)


def test_a_terminal_gets_one_line_that_changes_and_lines_above_it():
    terminal = Terminal()
    screen = Screen(terminal)

    screen.show(HALF)
    screen.complain("a file")
    screen.finish(OVER)
    text = terminal.getvalue()

    assert text.startswith("\x1b[?25l")  # no cursor while the line moves
    assert text.endswith("\n\x1b[?25h")
    assert text.index("a file") < text.rindex("895 left") < text.index("0 left")


@pytest.mark.parametrize(
    ("variable", "value", "stream"),
    [("NO_COLOR", "1", Terminal), ("TERM", "dumb", Terminal), ("TERM", "xterm", io.StringIO)],
)
def test_elsewhere_it_prints_a_line_now_and_then(monkeypatch, variable, value, stream):
    monkeypatch.setenv(variable, value)
    out = stream()
    screen = Screen(out)

    screen.show(HALF)
    screen.show(HALF)  # too soon for another line
    screen.finish(OVER)

    assert "\x1b" not in out.getvalue()
    assert out.getvalue().splitlines() == [progress.plain_line(HALF), progress.plain_line(OVER)]


def test_a_terminal_that_knows_ascii_only_is_not_broken():
    terminal = Terminal()
    terminal.encoding = "ascii"
    screen = Screen(terminal)

    screen.show(HALF)
    screen.complain("naïve…")

    assert terminal.getvalue().isascii()
