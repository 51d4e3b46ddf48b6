"""Whether another attempt follows, and when."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbq.exceptions import JobTimeout, Retry, TaskNotFound
from django_dbq.rules.retry import RetryPolicy, delay_before_retry

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ERROR = OSError("no ink")

POLICIES = st.builds(
    RetryPolicy,
    max_attempts=st.none() | st.integers(1, 20),
    backoff=st.timedeltas(timedelta(0), timedelta(days=400)),
    max_backoff=st.timedeltas(timedelta(0), timedelta(days=400)),
    jitter=st.booleans(),
    delays=st.lists(st.timedeltas(timedelta(0), timedelta(days=400)), max_size=5).map(tuple),
)
ATTEMPTS = st.integers(1, 10_000)


# ── How long ─────────────────────────────────────────────────────────────────────────────────────


def test_a_backoff_doubles_up_to_its_ceiling():
    policy = RetryPolicy(backoff=10 * SECOND, max_backoff=60 * SECOND, jitter=False)

    waits = [policy.delay(attempt).total_seconds() for attempt in range(1, 7)]
    assert waits == [10, 20, 40, 60, 60, 60]


@given(POLICIES, ATTEMPTS)
def test_no_wait_is_negative_or_longer_than_the_policy_says(policy, attempt):
    longest = max(policy.delays) if policy.delays else policy.max_backoff

    assert timedelta(0) <= policy.delay(attempt) <= longest


@given(ATTEMPTS, st.floats(0, 1, exclude_max=True))
def test_jitter_waits_a_part_of_what_it_would_wait_without(attempt, part):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.random", lambda: part)
        waited = RetryPolicy().delay(attempt)

    ceiling = RetryPolicy(jitter=False).delay(attempt)
    assert abs(waited - part * ceiling) <= timedelta(microseconds=1)


def test_jitter_spreads_what_failed_together_over_the_whole_wait():
    parts = [RetryPolicy().delay(3) / RetryPolicy(jitter=False).delay(3) for _ in range(500)]

    assert min(parts) < 0.1
    assert max(parts) > 0.9
    assert len(set(parts)) > 400


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=6), st.integers(1, 50))
def test_of_a_list_of_delays_the_last_one_repeats_and_none_is_jittered(seconds, attempt):
    policy = RetryPolicy(delays=tuple(timedelta(seconds=each) for each in seconds))
    endless = itertools.chain(seconds, itertools.repeat(seconds[-1]))

    expected = next(itertools.islice(endless, attempt - 1, None))
    assert policy.delay(attempt) == timedelta(seconds=expected)


@given(st.timedeltas(timedelta(0), timedelta(days=3_650)), ATTEMPTS)
def test_a_job_that_is_tried_for_years_does_not_overflow(backoff, attempt):
    policy = RetryPolicy(backoff=backoff, max_backoff=HOUR, jitter=False)

    assert policy.delay(attempt) <= HOUR


def never_asked():
    raise AssertionError("what may be dear was asked for, and nobody needed it")


# ── How often ────────────────────────────────────────────────────────────────────────────────────


def test_without_a_policy_nothing_is_retried():
    assert delay_before_retry(None, never_asked, ERROR, 1) is None


@pytest.mark.parametrize("error", [ERROR, JobTimeout(), SystemExit(3), KeyboardInterrupt()])
@given(policy=POLICIES, attempt=ATTEMPTS)
def test_the_last_attempt_is_followed_by_none_and_each_other_one_by_another(error, policy, attempt):
    delay = delay_before_retry(policy, never_asked, error, attempt)

    is_last = policy.max_attempts is not None and attempt >= policy.max_attempts
    assert (delay is None) == is_last


# ── Which errors ─────────────────────────────────────────────────────────────────────────────────

WITH_CLASSES = [OSError, ConnectionError]
WITH_PATHS = ["OSError", "builtins.ConnectionError"]


@pytest.mark.parametrize(("base", "special"), [WITH_CLASSES, WITH_PATHS])
@pytest.mark.parametrize(
    ("error", "on", "never"),
    [
        (OSError(), True, False),
        (FileNotFoundError(), True, False),  # a subclass of it
        (ConnectionResetError(), True, True),
        (ValueError(), False, False),
    ],
    ids=repr,
)
def test_on_and_never_mean_a_class_and_its_subclasses(error, on, never, base, special):
    assert RetryPolicy(on=(base,)).covers(error) == on
    assert RetryPolicy(never=(base,)).covers(error) != on
    assert RetryPolicy(on=(base,), never=(special,)).covers(error) == (on and not never)


def test_an_error_that_is_not_covered_ends_the_job_at_once():
    policy = RetryPolicy(on=(ConnectionError,))

    assert delay_before_retry(policy, never_asked, ConnectionResetError(), 1) is not None
    assert delay_before_retry(policy, never_asked, ValueError(), 1) is None


@pytest.mark.parametrize("path", ["no.such.Error", "NoSuchError", "os.path.sep", "os.path.join"])
def test_a_path_that_is_no_error_class_is_told(path):
    with pytest.raises(TaskNotFound) as raised:
        delay_before_retry(RetryPolicy(never=(path,)), never_asked, ERROR, 1)

    assert path in str(raised.value)


# ── A function that decides ──────────────────────────────────────────────────────────────────────

DECIDED = []
ANSWER = None


def decide(job, exception, attempt):
    DECIDED.append((job, exception, attempt))
    if isinstance(ANSWER, BaseException):
        raise ANSWER
    return ANSWER


@pytest.fixture
def decided(monkeypatch):
    """What the policy's function was given, after it has answered with this."""

    def decided(answer, **policy):
        DECIDED.clear()
        monkeypatch.setattr(f"{__name__}.ANSWER", answer)
        policy = RetryPolicy(decide=f"{__name__}.decide", jitter=False, **policy)
        return delay_before_retry(policy, lambda: "the job", ERROR, 2)

    return decided


@pytest.mark.parametrize(
    ("answer", "delay"),
    [
        (True, timedelta(seconds=20)),  # what the other keys say
        (False, None),
        (None, None),
        (0, timedelta(0)),
        (1.5, timedelta(seconds=1.5)),
        (timedelta(minutes=3), timedelta(minutes=3)),
    ],
    ids=repr,
)
def test_the_function_s_answer_is_the_wait(decided, answer, delay):
    assert decided(answer) == delay
    assert DECIDED == [("the job", ERROR, 2)]


@pytest.mark.parametrize(
    "nonsense",
    ["soon", "", b"", [], -1, timedelta(-1), float("nan"), float("inf"), object()],
    ids=repr,
)
def test_an_answer_that_is_no_wait_is_told(decided, nonsense):
    with pytest.raises(ValueError, match=r"neither|less than nothing|no duration"):
        decided(nonsense)


def test_what_the_function_raises_goes_to_the_caller(decided):
    with pytest.raises(LookupError):
        decided(LookupError("in the policy"))


def test_a_function_is_not_asked_when_the_other_keys_have_answered(decided):
    assert decided(True, max_attempts=2) is None
    assert decided(True, on=(ValueError,)) is None
    assert DECIDED == []


# ── A task that asks ─────────────────────────────────────────────────────────────────────────────


@given(ATTEMPTS, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_task_may_ask_for_another_attempt_without_any_policy(attempt, after):
    assert delay_before_retry(None, never_asked, Retry(after=after), attempt) == after
    assert delay_before_retry(None, never_asked, Retry(), attempt) <= RetryPolicy().max_backoff


@given(POLICIES, ATTEMPTS, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_task_that_asks_is_bound_by_the_number_of_attempts_alone(policy, attempt, after):
    is_last = policy.max_attempts is not None and attempt >= policy.max_attempts

    delay = delay_before_retry(policy, never_asked, Retry(after=after), attempt)
    assert delay == (None if is_last else after)


@pytest.mark.parametrize(
    "policy", [RetryPolicy(on=(ConnectionError,)), RetryPolicy(never=(Retry,))], ids=["on", "never"]
)
def test_a_task_that_asks_is_heard_whatever_errors_are_retried(policy):
    assert delay_before_retry(policy, never_asked, Retry(after=5), 1) == timedelta(seconds=5)
    assert delay_before_retry(policy, never_asked, Retry(), 1) is not None


def test_a_task_that_asks_is_not_overruled_by_the_function(decided, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ANSWER", False)
    DECIDED.clear()
    policy = RetryPolicy(decide=f"{__name__}.decide", jitter=False)

    assert delay_before_retry(policy, never_asked, Retry(), 1) == policy.backoff
    assert DECIDED == []


def test_a_decision_to_wait_beyond_all_years_is_an_error():
    policy = RetryPolicy(decide=lambda job, error, attempt: timedelta.max)

    with pytest.raises(ValueError, match="longer than"):
        delay_before_retry(policy, lambda: None, LookupError(), 1)
