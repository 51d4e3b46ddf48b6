"""Deleting finished jobs beside one worker that has no supervisor."""

from __future__ import annotations

import threading
from datetime import timedelta

from django_dbq.rules.states import FINAL
from django_dbq.settings import Retention
from django_dbq.worker import housekeeper
from django_dbq.worker.housekeeper import Housekeeper


def test_a_page_that_takes_for_ever_does_not_keep_the_worker_from_exiting(monkeypatch):
    may_end = threading.Event()
    monkeypatch.setattr(Housekeeper, "_work", lambda self, over: may_end.wait(10))
    monkeypatch.setattr(housekeeper, "EXIT_SECONDS", 0.01)
    retention = Retention(dict.fromkeys(FINAL, timedelta(days=1)))

    with Housekeeper("default", retention, lease=timedelta(seconds=10)).in_a_thread():
        threads = set(threading.enumerate())
    try:
        assert threads & set(threading.enumerate()) == threads, "it was waited for"
    finally:
        may_end.set()
