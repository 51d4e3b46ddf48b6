"""Two connections at once: one has done its verb and not committed, while the other does its own.

Whatever happens must be what would have happened one after the other, in one of the two orders; but
that a verb may step over jobs that were locked just then.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from copy import deepcopy

import pytest
from django.db import connections, transaction
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from django_dbq.engines import engine_for
from tests.model import steps
from tests.model.machine import Verbs

# The other one is done by then or waits for a lock; what holds does not depend on which.
MEETING_SECONDS = 0.03
PATIENCE_SECONDS = 30


class TwoAtOnce(Verbs):
    first: steps.Step | None = None  # done first, once a second step is there
    commits = True

    @precondition(lambda self: self.first is None)
    @rule(commits=st.sampled_from([True, True, False]))
    def let_two_meet(self, commits):
        """The next two steps are taken at once; what the first one did may be rolled back."""
        self.is_meeting, self.commits = True, commits

    is_meeting = False

    def take(self, step):
        if not self.is_meeting:
            answer = step.do(self.engine)
            assert step.could_be(answer, self.expected, set()), f"{step} cannot answer {answer}"
            self.note_claims(answer)
        elif self.first is None:
            self.first = step
        else:
            first, self.first, self.is_meeting = self.first, None, False
            self.meet(first, step)

    def meet(self, first, second):
        with transaction.atomic():
            answer = first.do(self.engine)
            of_second: Future = self.other.submit(second.do, self.engine)
            wait([of_second], MEETING_SECONDS)
            transaction.set_rollback(not self.commits)
        other_answer = of_second.result(PATIENCE_SECONDS)
        # What the first one had changed was locked while the second one was at work; and so may
        # be what it only looked at, to find out who holds what, or moved to another index.
        changed = self.changed_by(first, answer)
        looked_at = set(self.expected.held_by(getattr(first, "worker", None)))
        if isinstance(first, steps.Claim):
            looked_at |= self.expected.fallen_due(first.now)
        skips = (set(), changed, changed | looked_at)
        orders = [[(second, other_answer, skip)] for skip in skips]
        if self.commits:
            done = (first, answer, set())
            orders = [pair for [other] in orders for pair in ([done, other], [other, done])]
            self.note_claims(answer)
        self.note_claims(other_answer)
        for order in orders:
            expected = deepcopy(self.expected)
            is_possible = all(step.could_be(given, expected, skip) for step, given, skip in order)
            if is_possible and not steps.differences(expected, self.known):
                self.expected = expected
                return
        raise AssertionError(f"In neither order: {first} → {answer}, {second} → {other_answer}")

    def changed_by(self, step, answer):
        after = deepcopy(self.expected)
        step.could_be(answer, after, set())
        return {pk for pk, job in self.expected.jobs.items() if job != after.jobs.get(pk)}

    def note_claims(self, answer):
        self.claims += answer if isinstance(answer, list) else []


@pytest.fixture
def other_connection(transactional_db):
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result(PATIENCE_SECONDS)


@pytest.mark.skipif("connections['default'].vendor == 'sqlite'", reason="it has one writer")
def test_two_at_once_are_as_good_as_one_after_the_other(thorough, other_connection):
    class Machine(TwoAtOnce):
        engine = engine_for("default")
        other = other_connection

    run_state_machine_as_test(Machine, settings=thorough)
