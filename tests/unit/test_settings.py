"""The `DBQ` setting."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_dbq import settings as dbq_settings
from django_dbq.settings import FINISHED, KNOWN_KEYS, QueueSettings, Retention

DAY = timedelta(days=1)

ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.none())


def test_the_defaults_are_those_of_3_3():
    assert QueueSettings() == QueueSettings(
        rate_limit=1, creation_hook_errors="raise", lease=timedelta(seconds=10)
    )


def test_without_the_setting_the_defaults_hold(settings):
    if hasattr(settings, "DBQ"):
        del settings.DBQ

    assert dbq_settings.current() == QueueSettings()


def test_the_setting_is_read_when_it_is_used(settings):
    settings.DBQ = {"RATE_LIMIT": 0.5}
    assert dbq_settings.current().rate_limit == 0.5

    settings.DBQ = {"RATE_LIMIT": 2}
    assert dbq_settings.current().rate_limit == 2


@pytest.mark.parametrize("lease", [30, 30.0, timedelta(seconds=30)])
def test_a_lease_is_a_timedelta_or_a_number_of_seconds(settings, lease):
    settings.DBQ = {"LEASE": lease}

    assert dbq_settings.current().lease == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("RATE_LIMIT", -1),
        ("RATE_LIMIT", "1"),
        ("RATE_LIMIT", None),
        ("RATE_LIMIT", True),
        ("RATE_LIMIT", float("nan")),
        ("RATE_LIMIT", float("inf")),
        ("CREATION_HOOK_ERRORS", "ignore"),
        ("CREATION_HOOK_ERRORS", None),
        ("LEASE", 0),
        ("LEASE", -5),
        ("LEASE", "10"),
        ("LEASE", True),
        ("LEASE", None),
        ("LEASE", timedelta(milliseconds=999)),
        ("LEASE", float("nan")),
        ("LEASE", float("inf")),
        ("LEASE", 10**30),
        ("GRACE", -1),
        ("GRACE", "25"),
        ("MAX_CRASHES", 0),
        ("MAX_PAYLOAD_BYTES", 0),
        ("MAX_PAYLOAD_BYTES", -1),
        ("MAX_PAYLOAD_BYTES", 1.5),
        ("MAX_PAYLOAD_BYTES", True),
        ("MAX_PAYLOAD_BYTES", "1 MB"),
        ("RETENTION", -1),
        ("RETENTION", "7 days"),
        ("RETENTION", True),
        ("RETENTION", [DAY]),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_the_name_of_its_key(settings, key, value):
    settings.DBQ = {key: value}
    with pytest.raises(
        ImproperlyConfigured, match=rf"settings.DBQ\['{key}'\] must be .*, not "
    ) as raised:
        dbq_settings.current()

    assert str(raised.value).endswith(f", not {value!r}.")  # as it was typed


@pytest.mark.parametrize("key", KNOWN_KEYS)
@given(value=ANYTHING)
def test_any_value_is_either_taken_or_refused_by_the_name_of_its_key(key, value):
    with override_settings(DBQ={key: value}):
        try:
            told = str(dbq_settings.current())
        except ImproperlyConfigured as error:
            told = str(error)

    assert key.lower() in told.lower()


@pytest.mark.parametrize("unknown", ["LEAES", "rate_limit", 5])
def test_an_unknown_key_is_named_with_the_known_ones(settings, unknown):
    settings.DBQ = {unknown: 1}
    with pytest.raises(ImproperlyConfigured, match=f"unknown keys: {unknown}") as raised:
        dbq_settings.current()

    for known in KNOWN_KEYS:
        assert known in str(raised.value)


@pytest.mark.parametrize("given", [[], None, "RATE_LIMIT", 5])
def test_a_setting_that_is_no_dict_is_refused(settings, given):
    settings.DBQ = given
    with pytest.raises(ImproperlyConfigured, match="must be a dict"):
        dbq_settings.current()


@pytest.mark.parametrize(
    "keeps_all", [None, {}, {"FAILED": None}, {"JOBS": {}}, {"JOBS": {"report": None}}], ids=str
)
def test_without_any_age_nothing_is_ever_deleted(settings, keeps_all):
    settings.DBQ = {"RETENTION": keeps_all}

    assert dbq_settings.current().retention is None


@pytest.mark.parametrize("age", [86_400, 86_400.0, DAY])
def test_one_age_is_that_of_every_finished_job(settings, age):
    settings.DBQ = {"RETENTION": age}

    assert dbq_settings.current().retention == Retention(dict.fromkeys(FINISHED, DAY))


def test_a_state_that_is_not_named_is_kept_for_ever(settings):
    settings.DBQ = {"RETENTION": {"COMPLETE": DAY, "FAILED": 86_400 * 30}}

    by_state = {"COMPLETE": DAY, "FAILED": 30 * DAY, "CANCELLED": None}
    assert dbq_settings.current().retention == Retention(by_state)


def test_a_job_name_has_one_age_or_some_by_state_and_the_others_are_those_of_all(settings):
    settings.DBQ = {
        "RETENTION": {
            "COMPLETE": DAY,
            "JOBS": {"audit": None, "tick": 60, "report": {"FAILED": 2 * DAY}},
        }
    }

    assert dbq_settings.current().retention.by_name == {
        "audit": dict.fromkeys(FINISHED),
        "tick": dict.fromkeys(FINISHED, timedelta(minutes=1)),
        "report": {"COMPLETE": DAY, "FAILED": 2 * DAY, "CANCELLED": None},
    }


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"FAILED": "a week"}, "['FAILED']"),
        ({"FAILED": -1}, "['FAILED']"),
        ({"FAILED": {"COMPLETE": 5}}, "['FAILED']"),
        ({"JOBS": ["audit"]}, "['JOBS']"),
        ({"JOBS": {"audit": "for ever"}}, "['JOBS']['audit']"),
        ({"JOBS": {"audit": {"FAILED": True}}}, "['JOBS']['audit']['FAILED']"),
    ],
    ids=str,
)
def test_a_wrong_age_is_named_by_the_whole_path_to_it(settings, given, place):
    settings.DBQ = {"RETENTION": given}
    with pytest.raises(ImproperlyConfigured) as raised:
        dbq_settings.current()

    assert str(raised.value).startswith(f"settings.DBQ['RETENTION']{place} must be a ")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"DONE": DAY, "NEW": DAY}, "settings.DBQ['RETENTION'] has unknown keys: DONE, NEW."),
        (
            {"JOBS": {"a": {"JOBS": {}}}},
            "settings.DBQ['RETENTION']['JOBS']['a'] has unknown keys: ",
        ),
    ],
    ids=str,
)
def test_a_key_that_is_no_final_state_is_named_with_the_known_ones(settings, given, place):
    settings.DBQ = {"RETENTION": given}
    with pytest.raises(ImproperlyConfigured) as raised:
        dbq_settings.current()

    assert str(raised.value).startswith(place)
    assert "The known ones are: COMPLETE, FAILED, CANCELLED" in str(raised.value)
