"""`settings.JOBS`, parsed."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_dbq.exceptions import (
    InvalidDeclaration,
    JobNotDeclared,
    TaskNotDeclared,
    UnknownJobOption,
)
from django_dbq.rules import declarations
from django_dbq.rules.declarations import (
    HOOK_KEYS,
    KNOWN_OPTIONS,
    JobDeclaration,
    declaration_of,
    declare,
    declared_jobs,
    parse,
)
from django_dbq.rules.options import LONGEST_PATH

# Few different ones, so that lists often have the same task twice.
TASK_LISTS = st.lists(st.sampled_from(["app.a", "app.b", "app.c"]), min_size=1, max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["tasks"]), inner),
    max_leaves=8,
)


@given(TASK_LISTS)
def test_a_dict_and_a_bare_list_declare_the_same(tasks):
    assert parse("job", tasks) == parse("job", {"tasks": tasks}) == parse("job", tuple(tasks))


@given(TASK_LISTS)
def test_whoever_goes_from_task_to_task_passes_the_whole_list_and_ends(tasks):
    declaration = JobDeclaration("job", tuple(tasks))
    passed, task, place = [], tasks[0], 0
    while task:
        assert tasks[place] == task
        passed.append(task)
        task, place = declaration.following(task, place)

    assert passed == tasks
    assert place is None


@given(TASK_LISTS, st.none() | st.integers(min_value=-3, max_value=12))
def test_the_place_of_a_task_is_a_place_where_that_task_stands(tasks, remembered):
    declaration = JobDeclaration("job", tuple(tasks))
    for task in tasks:
        place = declaration.place_of(task, remembered)

        assert tasks[place] == task
        right = remembered is not None and 0 <= remembered < len(tasks)
        if right and tasks[remembered] == task:
            assert place == remembered
        else:
            assert place == tasks.index(task)  # the first match, as 3.3 has it


def test_a_task_that_the_list_has_lost_has_no_place():
    with pytest.raises(TaskNotDeclared, match=r"'app\.gone'") as raised:
        JobDeclaration("job", ("app.a",)).place_of("app.gone", 0)

    assert (raised.value.job_name, raised.value.task) == ("job", "app.gone")
    assert raised.value.tasks == ("app.a",)


@given(ANYTHING)
def test_whatever_stands_in_the_settings_is_either_a_declaration_or_a_clear_error(entry):
    try:
        declared = parse("job", entry).tasks
    except InvalidDeclaration as error:
        declared, told = (), str(error)

    assert declared or "settings.JOBS['job']" in told


@pytest.mark.parametrize("tasks", [None, (), [], "", "app.a", 5, {"app.a"}, {}])
def test_tasks_must_be_a_list_with_something_in_it(tasks):
    with pytest.raises(InvalidDeclaration, match="at least one"):
        parse("job", {"tasks": tasks})


@pytest.mark.parametrize(
    "tasks",
    [(path for path in ["app.a"]), {"app.a": 1}.keys(), threading.Lock()],
    ids=["generator", "keys", "lock"],
)
def test_what_cannot_be_copied_is_refused_like_any_other_value(settings, tasks):
    settings.JOBS = {"job": {"tasks": tasks}}
    with pytest.raises(InvalidDeclaration, match="list of dotted paths"):
        declaration_of("job")


@pytest.mark.parametrize(
    "path", ["", "a b", "app..a", ".app", "app.", "app.a()", "1app.a", None, 5, ["app.a"]]
)
def test_a_task_must_be_a_dotted_path(path):
    with pytest.raises(InvalidDeclaration, match="should be a dotted path"):
        parse("job", ["app.first", path])


@pytest.mark.parametrize("key", HOOK_KEYS)
def test_a_hook_must_be_a_dotted_path(key):
    with pytest.raises(InvalidDeclaration, match=f"{key}.*should be a dotted path"):
        parse("job", {"tasks": ["app.a"], key: "no path"})


@pytest.mark.parametrize("key", HOOK_KEYS)
def test_a_hook_may_be_left_out_or_none(key):
    without = parse("job", {"tasks": ["app.a"], key: None})

    assert without == parse("job", ["app.a"])
    assert without.hooks == {}


@pytest.mark.parametrize("key", HOOK_KEYS)
def test_a_declared_hook_is_found_under_its_key(key):
    declaration = parse("job", {"tasks": ["app.a"], key: "app.hook"})

    assert getattr(declaration, key) == "app.hook"
    assert declaration.hooks == {key: "app.hook"}


def test_a_task_path_may_be_as_long_as_its_column_and_no_longer():
    longest = "a." + "b" * (LONGEST_PATH - 2)
    assert parse("job", [longest]).tasks == (longest,)

    with pytest.raises(InvalidDeclaration, match=f"{LONGEST_PATH + 1} characters"):
        parse("job", [longest + "b"])


def test_an_unknown_key_is_named_with_the_known_ones():
    with pytest.raises(UnknownJobOption) as raised:
        parse("job", {"tasks": ["app.a"], "retries": 3, "hook": "app.b"})

    assert "hook, retries" in str(raised.value)
    for known in KNOWN_OPTIONS:
        assert known in str(raised.value)


@pytest.mark.parametrize("jobs", [[], "app.a", None, 5, {"job"}])
def test_jobs_that_are_no_dict_are_refused(settings, jobs):
    settings.JOBS = jobs
    with pytest.raises(InvalidDeclaration, match="not a dict"):
        declared_jobs()


def test_a_project_without_jobs_declares_none(settings):
    del settings.JOBS

    assert declared_jobs() == {}


def test_an_unknown_name_is_a_key_error_that_names_the_known_ones(settings, monkeypatch):
    monkeypatch.setattr(declarations, "_beside", {})
    settings.JOBS = {"resize": ["app.a"], "mail": ["app.b"]}
    declare(JobDeclaration("app.send", ("app.send",)))
    with pytest.raises(KeyError) as raised:
        declaration_of("rezise")

    assert isinstance(raised.value, JobNotDeclared)
    assert str(raised.value) == (
        "settings.JOBS declares no job named 'rezise', nor does any @job that is known here. "
        "Known are: app.send, mail, resize."
    )


def test_what_is_added_to_the_settings_counts_at_once(settings):
    settings.JOBS = {}
    settings.JOBS["late"] = ["app.a"]

    assert declaration_of("late").tasks == ("app.a",)


def test_an_unknown_path_is_told_where_workers_look_for_jobs_beside_functions():
    error = JobNotDeclared("shop.other.lost", ["mail"])

    assert "If a @job in shop.other declares it: workers do not import that module" in str(error)
    assert "If a @job" not in str(JobNotDeclared("lost", ["mail"]))
