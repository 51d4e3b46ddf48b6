"""Fixtures for pytest, which finds them by itself. As long as nobody asks for one, nothing of
Django's or ours is imported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from django_dbq.testing import MovedClock


@pytest.fixture
def dbq_run_jobs() -> Any:
    """`django_dbq.testing.run_jobs`: run all jobs that are due."""
    from django_dbq.testing import run_jobs

    return run_jobs


@pytest.fixture
def dbq_assert_enqueued() -> Any:
    """`django_dbq.testing.assert_enqueued`: fail unless such a job waits."""
    from django_dbq.testing import assert_enqueued

    return assert_enqueued


@pytest.fixture
def dbq_assert_not_enqueued() -> Any:
    """`django_dbq.testing.assert_not_enqueued`: fail if such a job waits."""
    from django_dbq.testing import assert_not_enqueued

    return assert_not_enqueued


@pytest.fixture
def dbq_captured_jobs() -> Any:
    """`django_dbq.testing.captured_jobs`: which jobs come within a `with` block."""
    from django_dbq.testing import captured_jobs

    return captured_jobs


@pytest.fixture
def dbq_clock() -> Iterator[MovedClock]:
    """A clock that the test can move: `dbq_clock.forward(hours=1)`."""
    from django_dbq.testing import move_clock

    with move_clock() as clock:
        yield clock
