"""An exception that another thread raises: in the block, once, nowhere else."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time

import pytest

from django_dbq.exceptions import JobCancelled, JobInterrupted, JobInterruption, JobTimeout
from django_dbq.worker import interrupts
from django_dbq.worker.interrupts import Interrupted, Interruptible

PATIENCE_SECONDS = 30


class Other:
    """A thread that does something; `raised` is what that raised."""

    def __init__(self, do):
        self.raised = None
        self._do = do
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._do()
        except BaseException as error:
            self.raised = error

    def join(self):
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        return self.raised


def spin(until):
    """Run Python code, in which an exception can strike."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until.is_set() and time.monotonic() < deadline:
        pass


@pytest.mark.parametrize("why", [JobTimeout, JobCancelled, JobInterrupted])
def test_an_interruption_is_raised_in_the_block(why):
    block, begun, never = Interruptible(), threading.Event(), threading.Event()

    def work():
        with block:
            begun.set()
            spin(never)

    other = Other(work)
    assert begun.wait(PATIENCE_SECONDS)

    assert block.interrupt(why)
    assert type(other.join()) is why


def test_an_interruption_that_comes_before_the_block_is_raised_at_its_entry():
    block, entered = Interruptible(), []
    assert block.interrupt(JobCancelled)

    def work():
        with block:
            entered.append(True)

    assert isinstance(Other(work).join(), JobCancelled)
    assert not entered


def test_an_interruption_that_comes_after_the_block_is_raised_nowhere():
    block, left, go_on = Interruptible(), threading.Event(), threading.Event()

    def work():
        with block:
            pass
        left.set()
        spin(go_on)

    other = Other(work)
    assert left.wait(PATIENCE_SECONDS)

    assert not block.interrupt(JobTimeout)
    go_on.set()
    assert other.join() is None


def test_only_the_first_interruption_of_a_block_counts():
    block, begun, caught, go_on = (Interruptible(), *[threading.Event() for _ in range(3)])

    def work():
        with block:
            begun.set()
            try:
                spin(go_on)
            except JobTimeout:
                caught.set()
                spin(go_on)

    other = Other(work)
    assert begun.wait(PATIENCE_SECONDS)
    assert block.interrupt(JobTimeout)
    assert caught.wait(PATIENCE_SECONDS)

    assert not block.interrupt(JobInterrupted)
    go_on.set()
    assert other.join() is None


def test_an_interrupted_block_raises_what_it_was_made_with():
    with pytest.raises(JobTimeout), Interrupted(JobTimeout):
        pass


def test_an_interruption_that_comes_just_as_the_block_ends_does_not_strike_after_it(monkeypatch):
    """The interrupting thread has seen that the block is open, and then is slow to raise."""
    block, begun, go_on, left, over = (Interruptible(), *[threading.Event() for _ in range(4)])
    set_async_exc = interrupts._set_async_exc

    def slowly(thread, exception):
        if exception is not None:
            go_on.set()
            left.wait(0.2)  # it must not leave before we are done
        return set_async_exc(thread, exception)

    monkeypatch.setattr(interrupts, "_set_async_exc", slowly)

    def work():
        with contextlib.suppress(JobTimeout), block:
            begun.set()
            go_on.wait(PATIENCE_SECONDS)
        left.set()
        spin(over)

    other = Other(work)
    assert begun.wait(PATIENCE_SECONDS)
    assert block.interrupt(JobTimeout)
    over.set()
    assert other.join() is None


def test_an_interruption_never_strikes_outside_of_the_block_whenever_it_comes():
    """Blocks of every length, interrupted at any moment, thousands of times in one thread."""
    rounds, escaped, struck = 4_000, [], []
    blocks = [Interruptible() for _ in range(rounds)]
    current = [blocks[0]]
    over = threading.Event()

    def work():
        numbers = random.Random(0)
        for block in blocks:
            current[0] = block
            length = numbers.randrange(60)
            try:
                try:
                    with block:
                        for _ in range(length):
                            len(blocks)
                except JobInterruption:
                    struck.append(block)
                for _ in range(30):  # nothing may strike here
                    len(blocks)
            except JobInterruption:
                escaped.append(block)

    def interrupt():
        while not over.is_set():
            current[0].interrupt(JobTimeout)
            current[0].interrupt(JobInterrupted)

    interrupter = threading.Thread(target=interrupt, daemon=True)
    before = set_switch_interval(1e-6)
    try:
        interrupter.start()
        failure = Other(work).join()
    finally:
        set_switch_interval(before)
        over.set()
        interrupter.join()

    assert failure is None
    assert struck
    assert escaped == []


def set_switch_interval(seconds):
    """Set how often threads take turns; returns how often they did before."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    return before
