"""Stop signals, in a worker and in what is forked there."""

from __future__ import annotations

import os
import signal

import pytest

from django_dbq.worker.shutdown import STOP_SIGNALS, on_stop_signal

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]


def is_so_in_a_fork(condition):
    pid = os.fork()
    if not pid:
        os._exit(bool(condition()))
    return bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def handlers():
    return [signal.getsignal(number) for number in STOP_SIGNALS]


def no_signal_is_blocked():
    return not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(STOP_SIGNALS)


def test_a_fork_answers_stop_signals_as_any_python_program_does():
    python_s = [signal.SIG_DFL, signal.default_int_handler, signal.SIG_DFL]
    with on_stop_signal(print):
        ours = handlers()
        assert is_so_in_a_fork(lambda: handlers() == python_s and no_signal_is_blocked())
        assert handlers() == ours
        assert no_signal_is_blocked()


def test_what_a_task_has_set_for_a_stop_signal_is_inherited():
    with on_stop_signal(print):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert is_so_in_a_fork(lambda: signal.getsignal(signal.SIGTERM) == signal.SIG_IGN)


def test_a_worker_that_is_being_born_answers_as_its_supervisor_does():
    with on_stop_signal(print, is_inherited=True):
        ours = handlers()
        assert is_so_in_a_fork(lambda: handlers() == ours)
