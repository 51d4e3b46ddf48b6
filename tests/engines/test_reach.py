"""Claims that begin where the one before found something: the same jobs, sooner found."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_dbq.clock import monotonic
from django_dbq.engines import Claim, claiming, returning
from django_dbq.rules.reach import Reach
from tests.engines.conftest import NOW, ids

AN_HOUR_SECONDS = 3600.0


@pytest.fixture
def claim_along(engine):
    """Claim with what the claims before have left in `reach`."""
    reach = Reach()

    def claim_along(limit, queue="default"):
        return engine.claim(Claim([queue], limit=limit, worker_id=1, now=NOW, reach=reach))

    def look_everywhere_later(queue="default"):
        reach._everywhere_at[queue] = monotonic() + AN_HOUR_SECONDS

    claim_along.look_everywhere_later = look_everywhere_later
    return claim_along


def test_claims_one_after_the_other_keep_the_order(claim_along, job_row):
    rows = [job_row(priority=number % 3, minutes_old=number) for number in range(12)]
    best_first = sorted(rows, key=lambda job: (-job.priority, job.created))

    found = claim_along(3)
    claim_along.look_everywhere_later()
    while more := claim_along(3):
        found += more
        claim_along.look_everywhere_later()
    assert ids(found) == ids(best_first)


def test_what_came_in_out_of_order_is_found_when_nothing_else_is(claim_along, job_row):
    for number in range(4):
        job_row(minutes_old=10 - number)
    claim_along(2)
    claim_along.look_everywhere_later()
    late = [job_row(minutes_old=60), job_row(priority=7), job_row(priority=-7)]

    found = claim_along(2)
    assert len(found) == 2
    claim_along.look_everywhere_later()
    while more := claim_along(2):
        found += more
        claim_along.look_everywhere_later()
    assert set(ids(late)) < set(ids(found))
    assert len(found) == 5


def test_jobs_left_to_others_are_left_along_the_way_too(engine, job_row):
    reach = Reach()
    wanted, _ = job_row("noop", minutes_old=3), job_row("fails", minutes_old=2)
    reach.looked_everywhere("default", [wanted], began_at=0, ended_at=monotonic())

    found = engine.claim(
        Claim(["default"], limit=5, worker_id=1, now=NOW, but={("fails", "")}, reach=reach)
    )
    assert ids(found) == [wanted.pk]


def test_due_jobs_are_found_though_it_was_not_time_to_ask_for_them(engine, job_row):
    reach = Reach()
    reach.none_is_due(until=monotonic() + AN_HOUR_SECONDS)
    due = job_row(run_after=NOW - timedelta(minutes=1))

    found = engine.claim(Claim(["default"], limit=5, worker_id=1, now=NOW, reach=reach))
    assert ids(found) == [due.pk]


def test_as_long_as_some_are_due_every_claim_asks_for_them(shared_engine, job_row, monkeypatch):
    monkeypatch.setattr(returning, "PROMOTED_AT_ONCE", 2)
    monkeypatch.setattr(claiming, "PROMOTED_BY_ID", 2)
    for minute in range(6):
        job_row(run_after=NOW - timedelta(minutes=9 - minute))
    reach = Reach()

    def claim():
        return shared_engine.claim(Claim(["default"], limit=5, worker_id=1, now=NOW, reach=reach))

    found = [len(claim()) for _ in range(3)]
    assert found == [2, 2, 2]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="there all looks are full: none is slow")
def test_a_claim_begins_along_the_index(shared_engine, job_row):
    reach = Reach()
    first, _ = job_row(minutes_old=3), job_row(minutes_old=2)
    reach.looked_everywhere("default", [first], began_at=0, ended_at=monotonic())

    with CaptureQueriesContext(connection) as captured:
        shared_engine.claim(Claim(["default"], limit=5, worker_id=1, now=NOW, reach=reach))
    looks = [query["sql"] for query in captured if "LIMIT 5" in query["sql"]]
    assert len(looks) == 1
    assert "created >= " in looks[0]
