"""What an attempt can lead to, and the story of one that failed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbq.clock import aware_now
from django_dbq.rules.outcomes import (
    LONGEST_MESSAGE,
    LONGEST_TRACEBACK,
    Advanced,
    CalledOff,
    Completed,
    Declined,
    Failed,
    Failure,
    HandedBack,
    Outcome,
    Requeued,
    Retried,
    Snoozed,
    storable,
)
from django_dbq.rules.states import FINAL, TRANSITIONS, State

NOW = datetime(2031, 5, 4, 12, 0, tzinfo=timezone.utc)
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # with NUL characters, with surrogates


class Odd(Exception):
    """Shows itself as the function that it is given says."""

    def __init__(self, show):
        super().__init__()
        self.show = show

    def __str__(self):
        return self.show()


def raises(error):
    def show():
        raise error

    return show


def story_of(error):
    now = aware_now()
    try:
        raise error
    except BaseException as raised:
        return Failure.of(raised, task="app.task", number=1, started_at=now, finished_at=now)


def outcomes():
    def below(kind):
        return {kind}.union(*(below(subclass) for subclass in kind.__subclasses__()))

    return sorted(below(Outcome) - {Outcome}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("outcome", outcomes())
def test_every_outcome_is_a_transition_of_the_table(outcome):
    assert outcome.transition in TRANSITIONS
    assert outcome().values(NOW)["state"] == TRANSITIONS[outcome.transition].target


@pytest.mark.parametrize("outcome", outcomes())
def test_what_a_task_changed_is_set_whatever_became_of_it(outcome):
    values = outcome({"workspace": {"a": 1}, "priority": 5}).values(NOW)

    assert values["workspace"] == {"a": 1}
    assert values["priority"] == 5


@pytest.mark.parametrize("outcome", [Failed, Requeued, Retried])
def test_a_failed_attempt_has_a_story(outcome):
    story = story_of(ValueError("x"))

    assert outcome(story=story).story is story


@pytest.mark.parametrize("outcome", [Completed, Advanced, Snoozed, CalledOff, HandedBack, Declined])
def test_what_is_no_failed_attempt_has_none(outcome):
    assert outcome().story is None


def test_a_completed_job_has_no_next_task():
    assert Completed().values(NOW)["next_task"] == ""
    assert Completed().state in FINAL


def test_the_next_task_begins_with_no_attempts():
    values = Advanced(next_task="app.b", task_index=1).values(NOW)

    assert values == {
        "state": State.READY,
        "next_task": "app.b",
        "task_index": 1,
        "attempts": 0,
        "crashes": 0,
    }


DURATIONS = st.timedeltas(timedelta(0), timedelta(days=1_000))


@given(DURATIONS)
def test_a_retried_job_waits_from_the_database_s_time_on_and_keeps_its_attempts(after):
    values = Retried(after=after).values(NOW)

    assert values["run_after"] == NOW + after
    assert values.keys() == {"state", "run_after"}


def test_a_hook_that_sets_run_after_knows_better_than_the_policy():
    hooks_choice = NOW + timedelta(days=1)
    outcome = Retried({"run_after": hooks_choice}, after=timedelta(seconds=5))

    assert outcome.values(NOW)["run_after"] == hooks_choice


@given(DURATIONS, st.integers(0, 100))
def test_a_snoozed_job_waits_and_its_attempt_is_given_back(after, attempts):
    for outcome in (
        Snoozed(attempts=attempts, after=after),
        Snoozed(attempts=attempts, until=NOW + after),
    ):
        assert outcome.values(NOW) == {
            "state": State.READY,
            "run_after": NOW + after,
            "attempts": attempts,
        }


@given(ANY_TEXT)
def test_storable_text_has_nothing_in_it_that_a_database_refuses(text):
    stored = storable(text)

    assert "\0" not in stored
    stored.encode("utf-8")


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
def test_ordinary_text_is_stored_as_it_is(text):
    assert storable(text) == text


@given(ANY_TEXT)
def test_the_story_of_any_error_can_be_stored(message):
    story = story_of(ValueError(message))
    for text in (story.message, story.traceback):
        assert "\0" not in text
        text.encode("utf-8")


def test_a_story_tells_class_message_and_traceback():
    story = story_of(ValueError("no such invoice"))

    assert story.exception == "builtins.ValueError"
    assert story.message == "no such invoice"
    assert story.traceback.endswith("ValueError: no such invoice\n")
    assert "story_of" in story.traceback


def test_the_beginning_of_a_long_message_and_the_end_of_a_long_traceback_are_kept():
    story = story_of(ValueError("begin" + "x" * 100_000 + "end"))

    assert len(story.message) == LONGEST_MESSAGE
    assert story.message.startswith("begin")
    assert len(story.traceback) == LONGEST_TRACEBACK
    assert story.traceback.endswith("end\n")


@pytest.mark.parametrize(
    "second", [ValueError("no"), RecursionError(), SystemExit(1), KeyboardInterrupt()], ids=repr
)
def test_telling_the_story_of_an_error_that_cannot_be_shown_raises_nothing(second):
    story = story_of(Odd(raises(second)))

    assert type(second).__name__ in story.message
    assert story.exception.endswith("Odd")


def test_telling_the_story_of_an_error_whose_text_is_no_text_raises_nothing():
    assert "TypeError" in story_of(Odd(lambda: 5)).message


@given(ANY_TEXT)
def test_in_ascii_every_other_character_is_escaped(message):
    story = story_of(ValueError(message)).in_ascii()

    assert story.message.isascii()
    assert story.traceback.isascii()
