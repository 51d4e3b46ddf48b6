"""How many jobs a worker takes at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_dbq.rules.prefetch import (
    BUFFER_SECONDS,
    MOST_IN_FLIGHT,
    AsyncShare,
    MeanDuration,
    appetite,
    appetite_for_both,
    fair_share,
)

THREADS = st.integers(min_value=1, max_value=1_000)
IN_FLIGHT = st.integers(min_value=0, max_value=2_000)
SECONDS = st.floats(min_value=0, max_value=86_400)
DURATIONS = st.lists(SECONDS, min_size=1)


def pace_of(durations):
    pace = MeanDuration()
    for seconds in durations:
        pace.note(seconds)
    return pace.mean_seconds


@given(threads=THREADS, in_flight=IN_FLIGHT, mean=st.none() | SECONDS)
def test_the_appetite_is_never_negative(threads, in_flight, mean):
    assert appetite(threads=threads, in_flight=in_flight, mean_seconds=mean) >= 0


@given(threads=THREADS, in_flight=IN_FLIGHT, mean=st.none() | SECONDS)
def test_no_thread_idles_for_want_of_a_claim(threads, in_flight, mean):
    wanted = appetite(threads=threads, in_flight=in_flight, mean_seconds=mean)

    assert in_flight + wanted >= threads


@given(threads=THREADS, in_flight=IN_FLIGHT)
def test_a_worker_that_has_run_nothing_yet_takes_one_job_for_each_thread(threads, in_flight):
    wanted = appetite(threads=threads, in_flight=in_flight, mean_seconds=None)

    assert wanted == max(0, threads - in_flight)


@given(threads=THREADS, in_flight=IN_FLIGHT, mean=SECONDS)
def test_a_worker_takes_no_more_than_it_can_soon_start(threads, in_flight, mean):
    wanted = appetite(threads=threads, in_flight=in_flight, mean_seconds=mean)

    if wanted and in_flight + wanted > threads:
        assert (in_flight + wanted) * mean <= threads * BUFFER_SECONDS * (1 + 1e-9)


@given(threads=THREADS, in_flight=IN_FLIGHT, mean=st.none() | SECONDS)
def test_a_claim_has_a_largest_size(threads, in_flight, mean):
    wanted = appetite(threads=threads, in_flight=in_flight, mean_seconds=mean)

    assert wanted <= max(threads, MOST_IN_FLIGHT)


def test_jobs_of_no_duration_fill_the_largest_claim():
    assert appetite(threads=1, in_flight=0, mean_seconds=0.0) == MOST_IN_FLIGHT


def test_a_worker_asks_again_only_when_half_of_its_jobs_are_done():
    quick = BUFFER_SECONDS / 100  # a hundred can be started soon

    assert appetite(threads=1, in_flight=51, mean_seconds=quick) == 0
    assert appetite(threads=1, in_flight=50, mean_seconds=quick) == 50


def test_jobs_that_take_long_are_taken_one_by_one():
    assert appetite(threads=1, in_flight=0, mean_seconds=10.0) == 1
    assert appetite(threads=1, in_flight=1, mean_seconds=10.0) == 0


def test_nothing_is_taken_for_threads_that_are_stuck_in_a_job():
    quick = BUFFER_SECONDS / 100
    on_three = {"threads": 3, "mean_seconds": quick}

    assert appetite(**on_three, in_flight=3, stuck_threads=3) == 0
    assert appetite(**on_three, in_flight=3, stuck_threads=2) == 2 + 100 - 3
    assert appetite(**on_three, in_flight=2, stuck_threads=2) == 2 + 100 - 2


@given(threads=THREADS, in_flight=IN_FLIGHT, mean=st.none() | SECONDS, data=st.data())
def test_stuck_threads_make_nobody_hungrier(threads, in_flight, mean, data):
    stuck = data.draw(st.integers(min_value=0, max_value=threads))
    alike = {"threads": threads, "in_flight": in_flight, "mean_seconds": mean}

    assert 0 <= appetite(**alike, stuck_threads=stuck) <= max(appetite(**alike), 0)


COUNTS = st.integers(min_value=0, max_value=10_000)


@given(wanted=COUNTS, idle=COUNTS, waiting=COUNTS, workers=st.integers(min_value=1, max_value=99))
def test_a_fair_share_leaves_the_same_to_every_other(wanted, idle, waiting, workers):
    share = fair_share(wanted, idle_threads=idle, waiting=waiting, workers=workers)

    assert share <= wanted
    assert share >= min(wanted, idle)
    if share > idle:
        assert (share - 1) * workers < waiting
    if share < wanted:
        assert share * workers >= waiting


def test_a_worker_alone_takes_all_that_it_wants():
    assert fair_share(50, idle_threads=1, waiting=80, workers=1) == 50
    assert fair_share(50, idle_threads=1, waiting=3, workers=1) == 3


def test_a_worker_that_has_run_nothing_knows_no_pace():
    assert MeanDuration().mean_seconds is None


@given(DURATIONS)
def test_the_pace_lies_between_the_shortest_and_the_longest_job(durations):
    slack = 1e-9 * max(1.0, max(durations))

    assert min(durations) - slack <= pace_of(durations) <= max(durations) + slack


@given(DURATIONS, SECONDS)
def test_a_long_job_counts_at_once(durations, seconds):
    before = pace_of(durations)

    if seconds > before:
        assert pace_of([*durations, seconds]) >= seconds / 2


@given(SECONDS.filter(lambda seconds: seconds > 1))
def test_a_single_short_job_makes_nobody_greedy(seconds):
    assert pace_of([seconds, 0.0]) >= seconds / 2


def test_short_jobs_count_as_they_repeat():
    assert pace_of([10.0] + [0.001] * 100) < 0.002


# ── Async jobs among the others ──────────────────────────────────────────────────────────────────

SHARES = st.floats(min_value=0, max_value=1)


@given(startable=COUNTS, free=COUNTS)
def test_without_async_jobs_nothing_is_other_than_it_was(startable, free):
    for share in (None, 0.0):
        wanted = appetite_for_both(startable=startable, free_slots=free, async_share=share)
        assert wanted == startable


@given(startable=COUNTS, free=COUNTS)
def test_with_async_jobs_alone_every_free_slot_is_wanted_up_to_a_largest_claim(startable, free):
    wanted = appetite_for_both(startable=startable, free_slots=free, async_share=1.0)

    assert wanted == min(free, max(startable, MOST_IN_FLIGHT))


@given(startable=COUNTS, free=COUNTS, share=SHARES.filter(lambda share: 0 < share < 1))
def test_of_neither_kind_more_is_taken_than_can_start(startable, free, share):
    wanted = appetite_for_both(startable=startable, free_slots=free, async_share=share)

    assert wanted * share <= free * (1 + 1e-9)
    assert wanted * (1 - share) <= startable * (1 + 1e-9)


def test_of_both_kinds_as_many_are_taken_as_there_is_room_for():
    def wanted(startable, free):
        return appetite_for_both(startable=startable, free_slots=free, async_share=0.8)

    assert wanted(2, 100) == 10
    assert wanted(100, 8) == 10
    assert wanted(0, 100) == wanted(100, 0) == 0


def share_of(*batches):
    share = AsyncShare()
    for is_async, of in batches:
        share.note(is_async=is_async, of=of)
    return share.value


def test_the_share_is_unknown_until_a_job_of_known_kind_was_claimed():
    assert share_of() is None
    assert share_of((0, 0)) is None
    assert share_of((3, 4)) == 0.75
    assert share_of((0, 5)) == 0.0


@given(st.lists(st.tuples(COUNTS, COUNTS).map(lambda two: (min(two), max(two))), min_size=1))
def test_the_share_is_one(batches):
    share = share_of(*batches)

    assert share is None or 0 <= share <= 1


def test_a_batch_counts_as_its_jobs_do_one_by_one():
    assert abs(share_of((1, 1), (0, 10)) - share_of((1, 1), *[(0, 1)] * 10)) < 1e-9


def test_a_share_that_has_changed_is_known_after_a_few_dozen_jobs():
    assert share_of((0, 1_000), (30, 30)) > 0.99
    assert share_of((1_000, 1_000), (0, 30)) < 0.01
