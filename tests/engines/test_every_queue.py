"""Every queue at once: which there are, and in which order a claim goes through them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_dbq.clock import as_aware, monotonic
from django_dbq.engines import Claim, claiming
from django_dbq.models import Job
from django_dbq.rules.queues import EVERY_QUEUE
from django_dbq.rules.reach import Reach
from django_dbq.rules.states import State
from tests.compat.rows import insert_row
from tests.compat.waiting import in_another_connection
from tests.engines.conftest import NOW, ids, row

SOON = NOW + timedelta(minutes=5)
LATER = NOW + timedelta(hours=5)
QUEUES = ["b", "default", "a", "ö", "zebra", "a b"]


def heads(engine, **options):
    """By queue: the priority of its head, and how many minutes old that is."""
    return {
        head.queue: (-head.rank, (NOW - as_aware(head.created)).total_seconds() / 60)
        for head in engine.heads(now=NOW, **options)
    }


# ── Which there are ──────────────────────────────────────────────────────────────────────────────


def test_where_nothing_waits_there_are_no_queues(engine):
    assert engine.heads(now=NOW) == []
    assert engine.soonest() == []


def test_each_queue_with_jobs_is_there_once_with_its_best(engine, job_row):
    for queue_name in QUEUES:
        for priority, minutes_old in ((0, 9), (2, 3), (2, 4), (1, 5)):
            job_row(queue_name=queue_name, priority=priority, minutes_old=minutes_old)

    assert heads(engine) == dict.fromkeys(QUEUES, (2, 4))
    assert len(engine.heads(now=NOW)) == len(QUEUES)


def test_a_queue_of_which_nothing_can_be_claimed_is_not_there(engine, job_row):
    job_row(queue_name="gated", gate=1)
    job_row(queue_name="scheduled", run_after=SOON)
    job_row(queue_name="put off by hand", run_after=SOON, is_due=True)
    for state in (State.PROCESSING, State.STOPPING, State.COMPLETE, State.FAILED, State.CANCELLED):
        job_row(queue_name=state, state=state)
    job_row(queue_name="there")

    assert list(heads(engine)) == ["there"]


def test_jobs_that_are_passed_over_are_no_heads(engine, job_row):
    job_row("fails", queue_name="both", priority=5)
    job_row("noop", queue_name="both", minutes_old=1)
    job_row("fails", queue_name="alone")

    assert heads(engine, but={("fails", "")}) == {"both": (0, 1)}


def test_a_job_that_3_3_or_raw_sql_has_inserted_is_seen(engine, db):
    insert_row(name="noop", next_task="tests.project.tasks.noop", queue_name="raw")
    insert_row(name="noop", next_task="", queue_name="raw scheduled", run_after=SOON)

    assert list(heads(engine)) == ["raw"]
    assert engine.soonest() == [(SOON, "raw scheduled")]


def test_of_each_queue_with_scheduled_jobs_the_soonest_is_told(engine, job_row):
    for queue_name, run_after in (("a", LATER), ("a", SOON), ("b", LATER), ("b", LATER)):
        job_row(queue_name=queue_name, run_after=run_after)
    job_row(queue_name="ready")
    job_row(queue_name="seen to be due", run_after=NOW, is_due=True)
    job_row(queue_name="gated", run_after=SOON, gate=1)

    assert engine.soonest() == [(SOON, "a"), (LATER, "b")]


def test_without_time_zones_heads_are_as_old_as_with_them(engine, job_row, settings):
    job_row(minutes_old=7)
    settings.USE_TZ, settings.TIME_ZONE = False, "America/Chicago"
    with_no_zone = engine.heads(now=NOW)

    assert with_no_zone[0].created == Job.objects.get().created


# ── Claims ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def claim_all(claim):
    """Claim from every queue, with nothing kept from the claim before."""
    return lambda limit, **options: claim(limit, EVERY_QUEUE, **options)


@pytest.fixture
def claim_on(engine):
    """Claim from every queue, with what the claims before have left in `reach`."""
    reach = Reach()

    def claim_on(limit, *, now=NOW):
        return engine.claim(Claim([EVERY_QUEUE], limit=limit, worker_id=1, now=now, reach=reach))

    def ask_for_no_queues():
        reach.heads._ask_at = monotonic() + 3_600

    def ask_for_queues():
        reach.heads._ask_at = monotonic()

    def know_that_none_is_due():
        reach.none_is_due(until=monotonic() + 3_600)

    claim_on.ask_for_no_queues, claim_on.ask_for_queues = ask_for_no_queues, ask_for_queues
    claim_on.know_that_none_is_due = know_that_none_is_due
    return claim_on


def test_where_no_queue_has_jobs_a_claim_of_all_takes_none(claim_all):
    assert claim_all(10) == []


def test_a_claim_of_all_takes_jobs_of_every_queue(claim_all, job_row):
    jobs = [job_row(queue_name=queue_name) for queue_name in QUEUES * 2]

    claimed = claim_all(99)
    assert sorted(ids(claimed)) == sorted(ids(jobs))
    assert {row(job).state for job in jobs} == {State.PROCESSING}
    assert all(job.is_held_here for job in claimed)


def test_queues_whose_names_a_collation_may_take_for_the_same_are_all_served(claim_all, job_row):
    jobs = [job_row(queue_name=name) for name in ("mail", "Mail", "mail ", "maïl", "MAIL", "zebra")]

    assert sorted(ids(claim_all(99))) == sorted(ids(jobs))


def test_a_claim_of_all_takes_no_more_than_its_limit(claim_all, job_row):
    for queue_name in QUEUES:
        job_row(queue_name=queue_name)

    assert [len(claim_all(4)), len(claim_all(4)), len(claim_all(4))] == [4, 2, 0]


def test_one_by_one_jobs_of_all_queues_come_by_priority_and_then_by_age(claim_all, job_row):
    jobs = [
        job_row(queue_name=QUEUES[number % 4], priority=number % 3, minutes_old=60 - number)
        for number in range(18)
    ]
    best_first = sorted(jobs, key=lambda job: (-job.priority, job.created))

    assert [claim_all(1)[0].pk for _ in jobs] == ids(best_first)


def test_a_backlog_of_one_queue_does_not_keep_an_urgent_job_of_another_waiting(claim_all, job_row):
    for number in range(5):
        job_row(queue_name="backlog", minutes_old=60 + number)
    urgent = job_row(queue_name="another", priority=1)

    assert urgent.pk in ids(claim_all(3))


def test_queues_with_a_backlog_take_turns_by_age_though_nobody_asks_for_their_heads_again(
    claim_on, job_row
):
    for queue_name in ("a", "b", "c"):
        for number in range(4):
            job_row(queue_name=queue_name, minutes_old=60 - 10 * number)
    taken = []
    for _ in range(6):
        taken += [job.queue_name for job in claim_on(2)]
        claim_on.ask_for_no_queues()

    assert sorted(taken[:6]) == ["a", "a", "b", "b", "c", "c"]
    assert sorted(taken[6:]) == ["a", "a", "b", "b", "c", "c"]


def test_a_queue_that_came_while_nobody_asked_is_found_before_a_claim_says_that_nothing_is_there(
    claim_on, job_row
):
    assert claim_on(1) == []
    claim_on.ask_for_no_queues()
    claim_on.know_that_none_is_due()
    new = job_row(queue_name="new")

    assert ids(claim_on(1)) == [new.pk]


def test_beside_a_backlog_a_new_queue_is_found_when_it_is_time_to_ask_again(claim_on, job_row):
    for _ in range(9):
        job_row(queue_name="backlog")
    claim_on(2)
    claim_on.ask_for_no_queues()
    urgent = job_row(queue_name="new", priority=1)
    assert urgent.pk not in ids(claim_on(1))

    claim_on.ask_for_queues()
    assert ids(claim_on(1)) == [urgent.pk]


def test_a_queue_that_a_rival_has_emptied_ends_no_claim(claim_on, claim, job_row):
    for minutes_old, queue_name in enumerate(("c", "b", "a")):
        for _ in range(2):
            job_row(queue_name=queue_name, minutes_old=minutes_old)
    assert [job.queue_name for job in claim_on(1)] == ["a"]
    claim_on.ask_for_no_queues()
    assert len(claim(9, "a", "b", worker_id=2)) == 3

    assert [job.queue_name for job in claim_on(1)] == ["c"]


def test_rivals_who_have_emptied_hundreds_of_queues_cost_a_claim_no_statement_for_each(
    claim_on, job_row
):
    for number in range(300):
        job_row(queue_name=f"queue-{number:03}")
    claim_on(limit=1)  # learns of all
    claim_on.ask_for_no_queues()
    Job.objects.exclude(queue_name="queue-299").update(state=State.COMPLETE)

    with CaptureQueriesContext(connection) as queries:
        (job,) = claim_on(limit=1)
    assert job.queue_name == "queue-299"
    assert len(queries) < 60


def test_a_claim_goes_through_so_many_queues_and_the_next_one_goes_on(
    claim_on, job_row, monkeypatch
):
    monkeypatch.setattr(claiming, "QUEUES_AT_ONCE", 3)
    for number in range(7):
        job_row(queue_name=f"queue {number}")

    assert [len(claim_on(99)) for _ in range(4)] == [3, 3, 1, 0]


def test_a_job_that_is_left_to_others_gives_its_queue_no_better_place(engine, job_row):
    job_row("fails", queue_name="a", priority=9)
    job_row(queue_name="a", minutes_old=1)
    older = job_row(queue_name="b", minutes_old=2)

    wish = Claim([EVERY_QUEUE], limit=1, worker_id=1, now=NOW, but={("fails", "")})
    assert ids(engine.claim(wish)) == [older.pk]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has no row locks")
def test_a_job_that_a_rival_has_locked_holds_up_no_claim_of_all(shared_engine):
    best = Job.objects.create(name="noop", queue_name="a", priority=1)
    other = Job.objects.create(name="noop", queue_name="b")
    wish = Claim([EVERY_QUEUE], limit=9, worker_id=1, now=shared_engine.now())
    with transaction.atomic():
        list(Job.objects.select_for_update().filter(pk=best.pk))

        assert ids(in_another_connection(lambda: shared_engine.claim(wish))) == [other.pk]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="it has no row locks")
@pytest.mark.parametrize("reach", [None, Reach()], ids=["", "along"])
def test_a_claim_of_all_finds_what_is_behind_any_number_of_locked_queues(shared_engine, reach):
    locked = [
        Job.objects.create(name="noop", queue_name=f"queue {number}", priority=1).pk
        for number in range(3 * claiming.MOST_IN_VAIN)
    ]
    free = Job.objects.create(name="noop", queue_name="free")
    wish = Claim([EVERY_QUEUE], limit=9, worker_id=1, now=shared_engine.now(), reach=reach)
    with transaction.atomic():
        list(Job.objects.select_for_update().filter(pk__in=locked))

        assert ids(in_another_connection(lambda: shared_engine.claim(wish))) == [free.pk]
        assert in_another_connection(lambda: shared_engine.claim(wish)) == []


# ── Scheduled jobs ───────────────────────────────────────────────────────────────────────────────


def test_a_scheduled_job_of_a_queue_that_has_no_others_is_taken_when_it_is_due(claim_on, job_row):
    scheduled = job_row(queue_name="scheduled", run_after=SOON)
    assert claim_on(1) == []

    assert ids(claim_on(1, now=SOON)) == [scheduled.pk]


def test_queues_whose_jobs_are_not_due_yet_cost_a_claim_of_all_no_more_than_a_step(
    claim_all, job_row
):
    for number in range(20):
        job_row(queue_name=f"later {number}", run_after=LATER)
    with CaptureQueriesContext(connection) as sent:
        assert claim_all(1) == []

    assert len(sent) <= 20 + 4


def test_due_jobs_of_all_queues_take_their_places_by_priority_and_age(claim_all, job_row):
    urgent = job_row(queue_name="a", run_after=NOW - timedelta(seconds=1), priority=1)
    old = job_row(queue_name="b", run_after=NOW, minutes_old=3)
    ready = job_row(queue_name="c", minutes_old=2)
    job_row(queue_name="d", run_after=SOON, priority=9)

    assert [claim_all(1)[0].pk for _ in range(3)] == ids([urgent, old, ready])


def test_a_due_job_is_found_beside_nothing_else_though_none_was_known_to_be_due(claim_on, job_row):
    claim_on.know_that_none_is_due()
    due = job_row(queue_name="due", run_after=NOW)

    assert ids(claim_on(1)) == [due.pk]


def test_of_more_queues_with_due_jobs_than_are_promoted_at_once_the_others_follow(
    claim_on, job_row, monkeypatch
):
    monkeypatch.setattr(claiming, "QUEUES_AT_ONCE", 2)
    for number in range(5):
        job_row(queue_name=f"queue {number}", run_after=NOW - timedelta(minutes=number))

    taken = [[job.queue_name for job in claim_on(99)] for _ in range(4)]
    assert [sorted(each) for each in taken] == [
        ["queue 3", "queue 4"],
        ["queue 1", "queue 2"],
        ["queue 0"],
        [],
    ]


def test_of_more_due_rows_than_are_promoted_at_once_the_others_follow(
    claim_on, job_row, monkeypatch
):
    monkeypatch.setattr(claiming, "PROMOTED_AT_ONCE", 2)
    for number in range(6):
        job_row(queue_name=f"queue {number // 2}", run_after=NOW - timedelta(minutes=number))

    taken = [[job.queue_name for job in claim_on(99)] for _ in range(4)]
    assert taken == [["queue 2"] * 2, ["queue 1"] * 2, ["queue 0"] * 2, []]


# ── Looks and counts ─────────────────────────────────────────────────────────────────────────────


def test_a_job_of_any_queue_can_be_claimed_now(engine, job_row):
    assert engine.next_due([EVERY_QUEUE], now=NOW) is None
    job_row(queue_name="any", run_after=SOON)
    job_row(queue_name="another")

    assert engine.next_due([EVERY_QUEUE], now=NOW) < NOW


def test_of_the_scheduled_jobs_of_all_queues_the_soonest_counts(engine, job_row):
    job_row(queue_name="a", run_after=LATER)
    job_row(queue_name="b", run_after=SOON)

    assert engine.next_due([EVERY_QUEUE], now=NOW) == SOON


def test_the_ready_jobs_of_all_queues_are_counted_up_to_a_number(engine, job_row):
    for queue_name in QUEUES:
        job_row(queue_name=queue_name)
    job_row(queue_name="later", run_after=SOON)

    assert engine.count_ready([EVERY_QUEUE], at_most=99, now=NOW) == len(QUEUES)
    assert engine.count_ready([EVERY_QUEUE], at_most=3, now=NOW) == 3
