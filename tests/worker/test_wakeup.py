"""When the worker's loop looks again."""

from __future__ import annotations

import threading
import time

from django_dbq.worker.wakeup import LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS, Wakeup


def seconds_waited(wakeup, at_most):
    began = time.monotonic()
    wakeup.wait(at_most)
    return time.monotonic() - began


def test_a_bell_that_rang_before_ends_the_wait_at_once():
    wakeup = Wakeup()
    wakeup.ring()

    assert seconds_waited(wakeup, 30) < 10


def test_a_bell_that_another_thread_rings_ends_the_wait():
    wakeup = Wakeup()
    threading.Timer(0.05, wakeup.ring).start()

    assert seconds_waited(wakeup, 30) < 10


def test_however_often_it_rang_it_wakes_once():
    wakeup = Wakeup()
    for _ in range(100):
        wakeup.ring()
    wakeup.wait(30)

    assert seconds_waited(wakeup, 0.05) >= 0.04


def test_without_a_bell_the_wait_ends_by_itself():
    assert seconds_waited(Wakeup(), 0.05) >= 0.04
    assert seconds_waited(Wakeup(), -1) < 1


def test_the_longer_it_is_idle_the_longer_it_waits_up_to_a_limit():
    wakeup = Wakeup()
    pauses = [wakeup.poll_pause_seconds(found_work=False) for _ in range(30)]

    assert pauses == sorted(pauses)
    assert pauses[-1] == pauses[-2] == LONGEST_PAUSE_SECONDS


def test_when_there_is_work_it_looks_again_soon():
    wakeup = Wakeup()
    for _ in range(30):
        wakeup.poll_pause_seconds(found_work=False)

    assert wakeup.poll_pause_seconds(found_work=True) == SHORTEST_PAUSE_SECONDS
