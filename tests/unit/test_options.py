"""Each key of a job: what it may hold, and what is made of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbq.exceptions import InvalidDeclaration, UnknownJobOption
from django_dbq.models import Job
from django_dbq.rules.declarations import KNOWN_OPTIONS, JobDeclaration, parse
from django_dbq.rules.options import LONGEST_NAME, LONGEST_QUEUE_NAME, PARSERS, RETRY_KEYS
from django_dbq.rules.retry import RetryPolicy

TASKS = ("app.a",)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.timedeltas(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(RETRY_KEYS), inner),
    max_leaves=6,
)


def parsed(key, value):
    return getattr(parse("job", {"tasks": TASKS, key: value}), key)


def complaint(key, value):
    with pytest.raises(InvalidDeclaration) as raised:
        parse("job", {"tasks": TASKS, key: value})
    assert "settings.JOBS['job']" in raised.value.found
    return raised.value


def test_every_key_has_a_parser():
    assert set(PARSERS) == set(KNOWN_OPTIONS)


@pytest.mark.parametrize("key", [key for key in KNOWN_OPTIONS if key != "tasks"])
@given(value=ANYTHING)
def test_whatever_a_key_holds_is_parsed_or_told_and_nothing_else(key, value):
    try:
        parsed(key, value)
        told = None
    except InvalidDeclaration as error:
        told = error

    assert told is None or ("settings.JOBS['job']" in told.found and told.hint)


def test_what_is_not_declared_does_not_happen():
    """A job of 3.3 goes as in 3.3."""
    declared = parse("job", TASKS)

    assert declared == JobDeclaration("job", TASKS)
    assert (declared.retry, declared.retry_hook, declared.timeout) == (None, None, None)
    assert (declared.isolation, declared.atomic) == ("thread", False)


# ── retry ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [None, ""])
def test_no_retry_is_none(value):
    assert parsed("retry", value) is None


def test_an_empty_dict_is_the_usual_policy():
    assert parsed("retry", {}) == RetryPolicy()


def test_a_number_is_that_of_attempts():
    assert parsed("retry", 3) == RetryPolicy(max_attempts=3)


def test_a_path_is_a_function_that_decides_and_alone_says_when_to_give_up():
    assert parsed("retry", "app.decide") == RetryPolicy(decide="app.decide", max_attempts=None)


def test_each_key_of_a_policy():
    given = {
        "max_attempts": None,
        "backoff": 2,
        "max_backoff": timedelta(minutes=1),
        "jitter": False,
        "delays": [1, 2.5, timedelta(minutes=1)],
        "on": [OSError, "app.Odd"],
        "never": "KeyError",
        "decide": "app.decide",
    }
    assert set(given) == set(RETRY_KEYS)

    assert parsed("retry", given) == RetryPolicy(
        max_attempts=None,
        backoff=timedelta(seconds=2),
        max_backoff=timedelta(minutes=1),
        jitter=False,
        delays=(timedelta(seconds=1), timedelta(seconds=2.5), timedelta(minutes=1)),
        on=(OSError, "app.Odd"),
        never=("KeyError",),
        decide="app.decide",
    )


def test_a_list_of_delays_is_used_up_once_unless_attempts_are_given():
    assert parsed("retry", {"delays": [1, 2]}).max_attempts == 3
    assert parsed("retry", {"delays": [1, 2], "max_attempts": None}).max_attempts is None
    assert parsed("retry", {"delays": [1, 2], "max_attempts": 9}).max_attempts == 9


@pytest.mark.parametrize("classes", [OSError, [OSError], (OSError,), {OSError}])
def test_error_classes_may_come_one_by_one_or_together(classes):
    assert parsed("retry", {"on": classes}).on == (OSError,)


@pytest.mark.parametrize("value", [True, False, 1.5, [], [3], ("a", "b"), timedelta(1), object()])
def test_a_retry_that_is_none_of_these_is_told_what_it_may_be(value):
    hint = complaint("retry", value).hint

    assert all(key in hint for key in RETRY_KEYS)


def test_an_unknown_key_of_a_policy_is_named_with_the_known_ones():
    error = complaint("retry", {"max_attempts": 3, "tries": 3, "factor": 2})

    assert isinstance(error, UnknownJobOption)
    assert "factor, tries" in error.found
    assert all(key in error.hint for key in RETRY_KEYS)


BAD_POLICIES = [
    ("max_attempts", 0),
    ("max_attempts", -1),
    ("max_attempts", True),
    ("max_attempts", 2.0),
    ("max_attempts", "3"),
    ("backoff", -1),
    ("backoff", None),
    ("backoff", "10s"),
    ("backoff", True),
    ("max_backoff", float("nan")),
    ("max_backoff", float("inf")),
    ("jitter", 1),
    ("jitter", None),
    ("delays", []),
    ("delays", 5),
    ("delays", "1, 2"),
    ("delays", {1: 2}),
    ("delays", [1, None]),
    ("delays", [1, -1]),
    ("on", None),
    ("on", []),
    ("on", [None]),
    ("on", ["no path"]),
    ("on", [int]),
    ("on", [OSError()]),
    ("never", 5),
    ("decide", "no path"),
    ("decide", len),
]


@pytest.mark.parametrize(("key", "value"), BAD_POLICIES, ids=repr)
def test_a_policy_with_a_bad_value_is_told_where_and_what(key, value):
    error = complaint("retry", {key: value})

    assert f"settings.JOBS['job']['retry'][{key!r}]" in error.found
    assert error.hint


@pytest.mark.parametrize("value", [0, "3", "no path"])
def test_a_bad_value_in_the_short_form_is_told_under_the_key_that_was_typed(value):
    assert complaint("retry", value).found == f"settings.JOBS['job']['retry'] holds {value!r}."


def test_a_bad_value_in_a_list_is_told_with_its_place():
    error = complaint("tasks", ["app.a", "no path"])

    assert error.found == "settings.JOBS['job']['tasks'][1] holds 'no path'."


def test_a_job_that_is_just_a_list_of_tasks_is_told_without_a_key():
    with pytest.raises(InvalidDeclaration) as raised:
        parse("job", ["no path"])

    assert raised.value.found == "settings.JOBS['job'][0] holds 'no path'."


def test_errors_that_are_never_retried_may_be_none():
    assert parsed("retry", {"never": []}).never == ()


# ── timeout, grace, isolation, atomic ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["timeout", "grace"])
@pytest.mark.parametrize(
    ("value", "duration"),
    [
        (30, timedelta(seconds=30)),
        (0.25, timedelta(milliseconds=250)),
        (timedelta(minutes=2), timedelta(minutes=2)),
    ],
)
def test_a_timeout_and_a_grace_are_durations(key, value, duration):
    assert parsed(key, value) == duration


@pytest.mark.parametrize("key", ["timeout", "grace"])
@pytest.mark.parametrize("value", ["30", -1, True, [], float("inf"), float("nan"), object()])
def test_what_is_no_duration_is_told(key, value):
    error = complaint(key, value)

    assert repr(key) in error.found
    assert "seconds" in error.hint


def test_no_timeout_is_none_and_none_at_all_is_an_error():
    assert parsed("timeout", None) is None
    for nothing in (0, 0.0, timedelta(0)):
        assert "no time" in complaint("timeout", nothing).hint


def test_a_grace_of_nothing_kills_at_once():
    assert parsed("grace", 0) == timedelta(0)


@pytest.mark.parametrize("value", ["thread", "process"])
def test_the_two_isolations(value):
    assert parsed("isolation", value) == value


@pytest.mark.parametrize("value", [None, "", "Process", "fork", True, 1, ["process"]])
def test_another_isolation_is_told(value):
    assert '"process"' in complaint("isolation", value).hint


@pytest.mark.parametrize("value", [True, False])
def test_atomic_is_a_flag(value):
    assert parsed("atomic", value) is value


@pytest.mark.parametrize("value", [None, 0, 1, "yes", []])
def test_atomic_is_nothing_but_a_flag(value):
    assert "True or False" in complaint("atomic", value).hint


# ── queue_name and priority ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["", "q" * 61, None, 5, ["mail"]], ids=repr)
def test_a_queue_has_a_name_that_its_column_can_hold(value):
    complaint("queue_name", value)


@pytest.mark.parametrize("value", [-32_769, 32_768, "5", 1.5, None, True], ids=repr)
def test_a_priority_is_a_number_that_its_column_can_hold(value):
    complaint("priority", value)


def test_a_queue_and_a_priority_are_taken_as_they_are():
    assert parsed("queue_name", "q" * 60) == "q" * 60
    assert parsed("priority", -32_768) == -32_768


def test_what_a_declaration_may_hold_is_what_the_columns_do():
    assert Job._meta.get_field("queue_name").max_length == LONGEST_QUEUE_NAME
    assert Job._meta.get_field("name").max_length == LONGEST_NAME


# ── unique ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [None, False])
def test_a_job_is_not_unique_unless_it_says_so(value):
    assert parsed("unique", value) is None


def test_a_unique_job_is_so_by_all_arguments_or_by_those_that_are_named():
    assert parsed("unique", True) == ()
    assert parsed("unique", "account") == ("account",)
    assert parsed("unique", ["month", "account"]) == ("account", "month")


@pytest.mark.parametrize("value", [1, "", [], [""], [3], {"account": 1}, timedelta(1), object()])
def test_what_makes_jobs_unique_is_names_and_nothing_else(value):
    assert "names of those arguments" in complaint("unique", value).hint


@pytest.mark.parametrize("key", ["backoff", "max_backoff", "delays"])
def test_no_wait_is_declared_that_ends_beyond_all_years(key):
    wait = [timedelta.max] if key == "delays" else timedelta.max

    assert "at most" in complaint("retry", {key: wait}).hint
