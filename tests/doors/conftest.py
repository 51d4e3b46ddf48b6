from __future__ import annotations

from pathlib import Path

import pytest

from django_dbq.rules.worlds import WORLDS

# Python 3.9 has neither of the two, and there `testing` is all that can be tested.
WITHOUT_DJANGO_TASKS = {
    f"test_testing_{part}.py" for part in ("clocks", "enqueued", "plugin", "running")
}
HERE = Path(__file__).parent
collect_ignore = [
    path.name
    for path in HERE.glob("test_*.py")
    if not WORLDS and path.name not in WITHOUT_DJANGO_TASKS
]


@pytest.fixture(autouse=True)
def no_calls_yet():
    if WORLDS:
        from tests.doors import tasks

        tasks.calls.clear()
