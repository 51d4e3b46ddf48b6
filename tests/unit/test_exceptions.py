"""The tree of errors."""

from __future__ import annotations

import pickle

import pytest

from django_dbq import exceptions
from django_dbq.exceptions import (
    DatabaseNotReady,
    DBQError,
    InvalidDeclaration,
    InvalidJob,
    InvalidOption,
    JobNotDeclared,
    LeaseLost,
    TaskNotDeclared,
    TaskNotFound,
    TransactionLeftOpen,
    UnknownJobOption,
    WorkspaceNotJSON,
)

EXAMPLES = [
    JobNotDeclared("mial", ["mail", "call"]),
    InvalidDeclaration("JOBS is a list.", hint="Make it a dict."),
    UnknownJobOption("An unknown key.", hint="These are known."),
    TaskNotDeclared("mail", "app.gone", ["app.send"]),
    TaskNotFound("app.send", "no such module"),
    InvalidJob("priority", "99999 is outside."),
    WorkspaceNotJSON("mail", "a set is not JSON"),
    TransactionLeftOpen("default"),
    LeaseLost("c0ffee"),
    InvalidOption("threads", -1, "a number of threads from 1 up"),
    DatabaseNotReady("default", "it is down.", hint="Start it."),
]

# What code written for 3.3 catches.
OLD_NAMES = {
    JobNotDeclared: KeyError,
    TaskNotDeclared: ValueError,
    TaskNotFound: ImportError,
    InvalidJob: ValueError,
    InvalidOption: ValueError,
    WorkspaceNotJSON: TypeError,
}


def kinds():
    found = [kind for kind in vars(exceptions).values() if isinstance(kind, type)]
    return {kind for kind in found if issubclass(kind, Exception)} - {DBQError}


def test_every_error_has_an_example_here():
    assert {type(example) for example in EXAMPLES} == kinds()


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_is_a_dbq_error(error):
    assert isinstance(error, DBQError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_the_message_of_an_error_has_all_its_facts_in_it(error):
    for fact in vars(error).values():
        for word in fact if isinstance(fact, tuple) else [fact]:
            assert str(word) in str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way_to_another_process(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own pickle)

    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize(("kind", "old"), OLD_NAMES.items())
def test_who_catches_what_3_3_raised_catches_ours(kind, old):
    assert issubclass(kind, old)


def test_a_project_that_declares_nothing_is_told_so():
    assert str(JobNotDeclared("mail")).endswith("It declares: nothing.")
