"""Who is to blame for the death of a worker, and who is not."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbq.rules.deaths import Death, Verdict
from django_dbq.rules.states import HELD, State

IDS = [uuid.UUID(int=number) for number in range(6)]
SOME = st.frozensets(st.sampled_from(IDS))
DEATHS = st.builds(
    Death,
    worker=st.just("host:7"),
    cause=st.just("killed by signal 9"),
    was_running=st.none() | SOME,
    overran=SOME,
    is_crash=st.booleans(),
)


def verdict(death, job_id, state=State.PROCESSING, *, held=IDS, threads=1):
    return death.verdict(job_id, state, death.knowing(held, threads=threads))


@given(SOME, SOME, st.integers(1, 10))
def test_what_is_known_to_have_run_is_known_whatever_was_held(ran, held, threads):
    death = Death("host:7", "?", was_running=ran)

    assert death.knowing(held, threads=threads) == ran


@given(SOME, SOME, SOME)
def test_of_what_had_ended_only_a_job_is_suspected_beside_which_none_ran(ran, ended, held):
    death = Death("host:7", "?", was_running=ran, had_ended=ended)

    assert death.knowing(held, threads=1) == (ran or ended)


@given(SOME, st.integers(1, 10))
def test_where_nobody_knows_a_worker_with_a_job_for_each_thread_ran_them(held, threads):
    running = Death("host:7", "?").knowing(held, threads=threads)

    assert running == (held if len(held) <= threads else frozenset())


@given(DEATHS, SOME, st.integers(1, 10), st.sampled_from(IDS), st.sampled_from(HELD))
def test_who_is_blamed(death, held, threads, job_id, state):
    running = death.knowing(held, threads=threads)
    judged = death.verdict(job_id, state, running)

    if job_id in death.overran:
        assert judged is Verdict.OVERRAN
    elif judged is Verdict.CRASH:
        assert death.is_crash
        assert job_id in running
        assert state == State.PROCESSING
    elif judged is Verdict.INTERRUPTED:
        assert state == State.STOPPING or job_id in running
    else:
        assert judged is Verdict.HAND_BACK
        assert job_id not in running


def test_of_a_crash_only_the_job_that_ran_is_charged():
    death = Death("host:7", "killed by signal 9", was_running=frozenset(IDS[:1]))

    assert verdict(death, IDS[0]) is Verdict.CRASH
    assert verdict(death, IDS[1]) is Verdict.HAND_BACK


def test_a_job_that_has_just_ended_is_charged_when_nothing_ran():
    held, ended = IDS[:2], frozenset(IDS[:1])
    alone = Death("host:7", "killed by signal 11", was_running=frozenset(), had_ended=ended)
    beside = Death(
        "host:7", "killed by signal 11", was_running=frozenset(IDS[1:2]), had_ended=ended
    )

    def verdicts(death):
        running = death.knowing(held, threads=1)
        return [death.verdict(job_id, State.PROCESSING, running) for job_id in held]

    assert verdicts(alone) == [Verdict.CRASH, Verdict.HAND_BACK]
    assert verdicts(beside) == [Verdict.HAND_BACK, Verdict.CRASH]


@pytest.mark.parametrize("was_running", [None, frozenset(IDS[:1])])
def test_a_stopping_job_is_never_charged(was_running):
    death = Death("host:7", "killed by signal 9", was_running=was_running)

    assert verdict(death, IDS[0], State.STOPPING, held=IDS[:1]) is Verdict.INTERRUPTED
    assert verdict(death, IDS[0], "STOPPING", held=IDS[:1]) is Verdict.INTERRUPTED
    assert verdict(death, IDS[0], "PROCESSING", held=IDS[:1]) is Verdict.CRASH


def test_a_worker_that_was_made_to_end_blames_nobody():
    death = Death("host:7", "asked to", was_running=frozenset(IDS[:2]), is_crash=False)

    assert [verdict(death, each) for each in IDS[:2]] == [Verdict.INTERRUPTED] * 2
    assert {verdict(death, each) for each in IDS[2:]} == {Verdict.HAND_BACK}


@pytest.mark.parametrize("state", HELD)
def test_who_was_killed_for_overrunning_overran_and_the_neighbours_did_not(state):
    death = Death(
        "host:7",
        "a task overran its timeout",
        was_running=frozenset(IDS[:2]),
        overran=frozenset(IDS[:1]),
        is_crash=False,
    )

    assert verdict(death, IDS[0], state) is Verdict.OVERRAN
    assert verdict(death, IDS[1], state) is Verdict.INTERRUPTED


def test_a_job_that_ran_in_a_process_of_its_own_is_innocent_but_not_as_good_as_new():
    death = Death("host:1", "killed", was_running=frozenset(), ran_elsewhere=frozenset(IDS[:1]))

    assert death.verdict(IDS[0], State.PROCESSING, frozenset()) is Verdict.INTERRUPTED
