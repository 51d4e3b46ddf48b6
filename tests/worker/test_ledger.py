"""What a worker runs, readable by its supervisor."""

from __future__ import annotations

import multiprocessing
import os
import signal
from uuid import uuid4

import pytest

from django_dbq import clock
from django_dbq.worker.ledger import NEVER, Ledger


def next_kill_at(ledger):
    return min((kill_at for _, kill_at, _ in ledger._entries()), default=NEVER)


def test_a_new_ledger_is_empty():
    ledger = Ledger(3)

    assert ledger.running() == frozenset()
    assert ledger.overdue(NEVER) == frozenset()
    assert next_kill_at(ledger) == NEVER


def test_a_job_stands_in_its_slot_while_it_runs():
    ledger, first, second = Ledger(2), uuid4(), uuid4()
    ledger.start(0, first)
    ledger.start(1, second)
    assert ledger.running() == {first, second}

    ledger.end(0)
    assert ledger.running() == {second}


def test_the_last_job_that_has_ended_in_a_slot_stands_there_until_it_is_written_down():
    ledger, first, second, third = Ledger(2), uuid4(), uuid4(), uuid4()
    for slot, job_id in ((0, first), (0, second), (1, third)):
        ledger.start(slot, job_id)
        ledger.end(slot)
    ledger.start(0, uuid4())
    assert ledger.ended() == {second, third}

    ledger.keep_ended({third: "in flight"})
    assert ledger.ended() == {third}
    ledger.keep_ended({})
    assert ledger.ended() == frozenset()


def test_a_job_that_has_ended_in_a_process_of_its_own_has_not_ended_here():
    ledger, here = Ledger(1), uuid4()
    ledger.start(0, here)
    ledger.end(0)
    ledger.start(0, uuid4(), elsewhere=True)
    ledger.end(0)

    assert ledger.ended() == {here}


def test_a_job_is_overdue_from_its_limit_on_and_only_while_it_runs():
    ledger, limited, other = Ledger(2), uuid4(), uuid4()
    ledger.start(0, limited)
    ledger.start(1, other)
    kill_at = clock.monotonic() + 5
    ledger.limit(0, kill_at)

    assert next_kill_at(ledger) == kill_at
    assert ledger.overdue(kill_at - 1) == frozenset()
    assert ledger.overdue(kill_at) == {limited}
    ledger.end(0)
    assert ledger.overdue(kill_at) == frozenset()


def test_the_limit_of_one_job_is_not_that_of_the_next_in_its_slot():
    ledger, following = Ledger(1), uuid4()
    ledger.start(0, uuid4())
    ledger.limit(0, clock.monotonic())
    ledger.end(0)
    ledger.start(0, following)

    assert ledger.running() == {following}
    assert ledger.overdue(clock.monotonic() + 1_000) == frozenset()


def test_a_limit_can_be_lifted():
    ledger = Ledger(1)
    ledger.start(0, uuid4())
    ledger.limit(0, clock.monotonic())
    ledger.limit(0, NEVER)

    assert ledger.overdue(clock.monotonic() + 1_000) == frozenset()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_what_a_killed_process_ran_can_be_read_after_its_death():
    ledger, job_id, kill_at = Ledger(4), uuid4(), clock.monotonic() + 5

    def work():
        ledger.start(0, uuid4())
        ledger.end(0)
        ledger.start(3, job_id)
        ledger.limit(3, kill_at)
        os.kill(os.getpid(), signal.SIGKILL)

    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join()

    assert ledger.running() == {job_id}
    assert ledger.overdue(kill_at) == {job_id}


def test_what_runs_in_a_process_of_its_own_is_told_apart():
    ledger = Ledger(2)
    here, elsewhere = uuid4(), uuid4()
    ledger.start(0, here)
    ledger.start(1, elsewhere, elsewhere=True)

    assert (ledger.running(), ledger.running_elsewhere()) == ({here}, {elsewhere})
    ledger.start(1, elsewhere)  # its hooks run here
    assert ledger.running() == {here, elsewhere}
