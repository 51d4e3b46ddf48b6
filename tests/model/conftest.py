"""How long the model tests look for a sequence of steps that breaks a promise.

DBQ_MODEL_EXAMPLES says how many sequences each test tries.
"""

from __future__ import annotations

import os

import hypothesis
import pytest

from tests.model.machine import TASKS

EXAMPLES = int(os.environ.get("DBQ_MODEL_EXAMPLES", "25"))
STEPS = 50


@pytest.fixture
def thorough(settings):
    """Hypothesis' settings; and the job whose life is drawn is declared."""
    settings.JOBS = {**settings.JOBS, "model": TASKS}
    return hypothesis.settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        # Not "explain": it traces every line, and Python 3.11 can hang in a traced function when
        # greenlets have run in the same process (those of the browser's tests have).
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
