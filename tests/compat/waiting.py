"""Waiting for what another process or thread does: for a condition, never for a length of time."""

from __future__ import annotations

import threading
import time

from django.db import connections

PATIENCE_SECONDS = 30


def wait_until(condition, what, *, seconds=PATIENCE_SECONDS, story=lambda: ""):
    """Return the condition's first true value; fail with `what` and the story when none comes."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"In {seconds} s it did not happen that {what}.\n{story()}")
        time.sleep(0.02)
    return value


def in_another_connection(function):
    """What the function returns, or raises, when a thread with its own connections calls it."""
    outcome = {}

    def call():
        try:
            outcome["value"] = function()
        except Exception as error:
            outcome["error"] = error
        finally:
            connections.close_all()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "The other connection waits for this one."
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]
