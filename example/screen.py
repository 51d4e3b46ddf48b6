"""A terminal with a progress line at its bottom, or a plain stream of lines."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import TextIO

from example import progress
from example.progress import BOLD, DIM, RED, YELLOW, Look, Snapshot

ERASE_LINE, HIDE_CURSOR, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25l", "\x1b[?25h"
SECONDS_BETWEEN_PLAIN_LINES = 2.0


class Screen:
    """Prints lines, and keeps the progress line below them where the terminal can do that."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        is_terminal = self.stream.isatty()
        dumb = os.environ.get("TERM") == "dumb"
        self.is_live = is_terminal and not dumb and not os.environ.get("NO_COLOR")
        encoding = getattr(self.stream, "encoding", None)
        self.unicode = progress.storable_by(encoding, "█▓░·✗…")
        self._last_plain = 0.0
        self._line = ""

    @property
    def look(self) -> Look:
        """Asked anew each time: people resize their terminals."""
        columns = shutil.get_terminal_size((80, 24)).columns or 80  # 0: a terminal of no known size
        return Look(columns=columns, color=self.is_live, unicode=self.unicode)

    def say(self, text: str = "") -> None:
        """Print lines above the progress line."""
        if not self.unicode:
            text = text.encode("ascii", "replace").decode("ascii")
        erase = ERASE_LINE if self._line else ""
        self._write(f"{erase}{text}\n{self._line}")

    def title(self, text: str) -> None:
        self.say(self.look.painted(text, BOLD))

    def step(self, what: str, text: str, note: str = "") -> None:
        """One line about one step of the run."""
        note = f"  {self.look.painted(note, DIM)}" if note else ""
        self.say(f"  {what:<10} {text}{note}")

    def complain(self, text: str) -> None:
        """One line about one thing that went wrong, cut to the width of the screen."""
        look = self.look
        width = look.columns - 5 if self.is_live else 500
        self.say(f"  {look.painted(look.cross, RED)} {progress.shortened(text, width, look)}")

    def warn(self, text: str) -> None:
        self.say(self.look.painted(text, YELLOW))

    def show(self, snapshot: Snapshot) -> None:
        """Renew the progress line; where there is none, print a line now and then."""
        if self.is_live:
            hide = "" if self._line else HIDE_CURSOR
            self._line = progress.progress_line(snapshot, self.look)
            self._write(f"{hide}{ERASE_LINE}{self._line}")
        elif time.monotonic() - self._last_plain >= SECONDS_BETWEEN_PLAIN_LINES:
            self._last_plain = time.monotonic()
            self.say(progress.plain_line(snapshot))

    def finish(self, snapshot: Snapshot) -> None:
        """Leave the progress line as it is, and go on below it."""
        self._last_plain = 0.0
        self.show(snapshot)
        self.close()

    def close(self) -> None:
        if self._line:
            self._line = ""
            self._write(f"\n{SHOW_CURSOR}")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
