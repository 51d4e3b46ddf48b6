"""The engine against what it promises: any verbs in any order, one after the other."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from django_dbq.engines import Engine, engine_for
from tests.model import steps
from tests.model.machine import Verbs


class OneAfterTheOther(Verbs):
    def take(self, step):
        late = step.late(self.expected)
        before = steps.all_columns(late)
        answer = step.do(self.engine)
        self.claims += answer if isinstance(answer, list) else []
        assert step.could_be(answer, self.expected, set()), f"{step} cannot answer {answer}"
        assert steps.all_columns(late) == before, f"{step} came late and changed something"


@pytest.mark.parametrize("kind", ["the engine of this database", "the portable engine"])
def test_no_sequence_of_verbs_breaks_a_promise(db, thorough, kind):
    engine = Engine("default") if kind == "the portable engine" else engine_for("default")

    class Machine(OneAfterTheOther):
        pass

    Machine.engine = engine
    run_state_machine_as_test(Machine, settings=thorough)
