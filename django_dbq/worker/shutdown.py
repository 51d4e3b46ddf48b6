"""OS signals, as what they mean to a worker."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

# What 3.3 obeyed. Windows has no SIGQUIT.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT") if hasattr(signal, name)
)


@contextlib.contextmanager
def on_stop_signal(stop: Callable[[], None]) -> Iterator[None]:
    """While this lasts, call `stop` on each signal that asks a worker to exit.

    `stop` runs between two steps of the main thread's code, so it may only set a flag and wake a
    sleeper that is made for it. Outside the main thread no signal can be had; nothing is done then.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        stop()

    try:
        before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
