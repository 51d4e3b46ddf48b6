"""When the worker's loop looks again."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest

from django_dbq.worker import wakeup as module
from django_dbq.worker.wakeup import Wakeup

LONG = 30


class Doorbell:
    """One that a test rings, and that tells what was said to it."""

    def __init__(self, *answers, pause=0.01):
        self.answers, self.pause = list(answers), pause
        self.told = []
        self.socket = None

    def pause_seconds(self):
        return self.pause

    def rang(self):
        self.told.append("asked")
        return self.answers.pop(0) if self.answers else False

    def leave(self):
        self.told.append("leave")


@pytest.fixture
def wakeup():
    return Wakeup()


def seconds_of(function, *args, **options):
    began = time.monotonic()
    function(*args, **options)
    return time.monotonic() - began


# ── The bell ─────────────────────────────────────────────────────────────────────────────────────


def test_a_bell_that_rang_before_ends_the_wait_at_once(wakeup):
    wakeup.ring()

    assert seconds_of(wakeup.wait, LONG) < 10


def test_a_bell_that_another_thread_rings_ends_the_wait(wakeup):
    threading.Timer(0.05, wakeup.ring).start()

    assert seconds_of(wakeup.wait, LONG) < 10


def test_a_bell_that_a_signal_handler_rings_ends_the_wait(wakeup):
    before = signal.signal(signal.SIGUSR1, lambda *_: wakeup.ring())
    try:
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        assert seconds_of(wakeup.wait, LONG) < 10
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_however_often_it_rang_it_wakes_once(wakeup):
    for _ in range(100):
        wakeup.ring()
    assert wakeup.wait(LONG)

    assert seconds_of(wakeup.wait, 0.05) >= 0.04


def test_however_many_ring_while_it_sleeps_it_sleeps_well_afterwards(wakeup):
    def ring():
        for _ in range(10_000):
            wakeup.ring()

    threads = [threading.Thread(target=ring) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        wakeup.wait(0.001)
    while wakeup.wait(0):
        pass
    wakeup.wait(0.001)  # what was sent while it woke

    assert seconds_of(wakeup.wait, 0.05) >= 0.04


def test_without_a_bell_the_wait_ends_by_itself(wakeup):
    assert seconds_of(wakeup.wait, 0.05) >= 0.04
    assert seconds_of(wakeup.wait, -1) < 1
    assert wakeup.wait(0) is False


# ── Waiting for jobs ─────────────────────────────────────────────────────────────────────────────


def test_a_wait_asks_the_doorbell_after_each_pause_until_that_rang(wakeup):
    doorbell = Doorbell(False, False, True)
    wakeup.wait_for_jobs(doorbell, LONG, found_work=False)

    assert doorbell.told == ["asked"] * 3


def test_a_ring_of_its_own_process_needs_no_question(wakeup):
    doorbell = Doorbell(pause=LONG)
    threading.Timer(0.05, wakeup.ring).start()

    assert seconds_of(wakeup.wait_for_jobs, doorbell, LONG, found_work=False) < 10
    assert doorbell.told == []


def test_what_arrives_at_the_doorbells_socket_ends_the_pause(wakeup):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        doorbell = Doorbell(True, pause=LONG)
        doorbell.socket = ours.fileno()
        threading.Timer(0.05, theirs.send, [b"."]).start()

        assert seconds_of(wakeup.wait_for_jobs, doorbell, LONG, found_work=False) < 10
        assert doorbell.told == ["asked"]


def test_a_wait_lasts_no_longer_than_it_was_told(wakeup):
    assert seconds_of(wakeup.wait_for_jobs, Doorbell(pause=LONG), 0.05, found_work=False) < 10
    assert seconds_of(wakeup.wait_for_jobs, Doorbell(), 0.05, found_work=False) >= 0.04


@pytest.fixture
def busy_after(monkeypatch):
    """A worker counts as busy after so many seconds, and as idle when it has slept for so many."""

    def busy_after(seconds, *, idle_after=LONG):
        monkeypatch.setattr(module, "BUSY_SECONDS", seconds)
        monkeypatch.setattr(module, "SLEEP_SECONDS", idle_after)

    return busy_after


def test_who_finds_work_time_and_again_is_busy(wakeup, busy_after):
    doorbell = Doorbell()
    busy_after(LONG)
    for _ in range(3):
        wakeup.wait_for_jobs(doorbell, 0, found_work=True)
    assert "leave" not in doorbell.told

    busy_after(0)
    wakeup.wait_for_jobs(doorbell, 0, found_work=True)
    assert "leave" in doorbell.told


def test_who_finds_work_and_sleeps_in_between_is_not_busy(wakeup, busy_after):
    doorbell = Doorbell(pause=0.002)
    busy_after(0.05, idle_after=0.001)
    for _ in range(50):
        wakeup.wait_for_jobs(doorbell, 0.002, found_work=True)

    assert "leave" not in doorbell.told


def test_whose_threads_are_at_work_for_a_while_is_busy(wakeup, busy_after):
    doorbell = Doorbell()
    busy_after(LONG)
    wakeup.wait_while_busy(doorbell, 0.001)
    wakeup.ring()
    wakeup.wait_while_busy(doorbell, LONG)
    assert doorbell.told == []

    busy_after(0.001)
    wakeup.wait_while_busy(doorbell, 0.05)
    assert doorbell.told == ["leave"]
