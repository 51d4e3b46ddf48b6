"""For test suites: `from django_dbq.testing import run_jobs`, and the other names in `__all__`.

pytest imports this package for its plugin before Django has settings, so what needs models is
imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_dbq.testing.clocks import MovedClock, move_clock
    from django_dbq.testing.enqueued import assert_enqueued, assert_not_enqueued, captured_jobs
    from django_dbq.testing.running import JobsRun, run_jobs

__all__ = [
    "JobsRun",
    "MovedClock",
    "assert_enqueued",
    "assert_not_enqueued",
    "captured_jobs",
    "move_clock",
    "run_jobs",
]

_FILES = {
    "clocks": ("MovedClock", "move_clock"),
    "enqueued": ("assert_enqueued", "assert_not_enqueued", "captured_jobs"),
    "running": ("JobsRun", "run_jobs"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
