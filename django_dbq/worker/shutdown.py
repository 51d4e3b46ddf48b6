"""OS signals, as what they mean to a worker."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# What 3.3 obeyed. Windows has no SIGQUIT.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGQUIT") if hasattr(signal, name)
)

SECOND_SIGNAL_AFTER_SECONDS = 1.0  # sooner, it is the same wish, sent to the whole process group


class Handler:
    """Calls `stop`. What the process forks does not inherit it, unless that is said.

    A task's forks are the task's: they end by a signal as they do in any other program. Else
    `Process.terminate()` would call the worker's handler in them, and a pool wait for ever.
    """

    def __init__(self, stop: Callable[[], None], *, is_inherited: bool = False) -> None:
        self._stop = stop
        self.is_inherited = is_inherited

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self._stop()


class _Forks(threading.local):
    """What is done around each fork, in the thread that forks."""

    def __init__(self) -> None:
        self._not_for_child: list[int] = []
        self._mask: set[int] = set()

    def before(self) -> None:
        """What comes from here on waits, in the child, until it has the right handler."""
        handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self._not_for_child = [
            number
            for number, handler in handlers.items()
            if isinstance(handler, Handler) and not handler.is_inherited
        ]
        if self._not_for_child:
            self._mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, self._not_for_child))

    def after_in_child(self) -> None:
        for number in self._not_for_child:
            is_interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
        self.after()

    def after(self) -> None:
        if self._not_for_child:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


if hasattr(os, "register_at_fork"):
    _forks = _Forks()
    os.register_at_fork(
        before=_forks.before,
        after_in_child=_forks.after_in_child,
        after_in_parent=_forks.after,
    )


@contextlib.contextmanager
def on_stop_signal(stop: Callable[[], None], *, is_inherited: bool = False) -> Iterator[None]:
    """While this lasts, call `stop` on each signal that asks a worker to exit.

    `stop` runs between two steps of the main thread's code, so it may only set a flag and wake a
    sleeper that is made for it. Outside the main thread no signal can be had; nothing is done then.
    """
    handler = Handler(stop, is_inherited=is_inherited)
    try:
        before = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former if former is not None else signal.SIG_DFL)
