"""What a worker shows of its logs when the project has not set up logging."""

from __future__ import annotations

import logging

_handler: logging.Handler | None = None


def show_logs() -> None:
    """Without a logging set-up of the project's, show what the worker does on standard error."""
    global _handler
    ours = logging.getLogger("django_dbq")
    if ours.hasHandlers():
        return
    _handler = logging.StreamHandler()
    _handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours.addHandler(_handler)
    ours.setLevel(logging.INFO)


def are_shown() -> bool:
    """Whether it is we who show them, so that a process of our own should do so too."""
    return _handler in logging.getLogger("django_dbq").handlers
