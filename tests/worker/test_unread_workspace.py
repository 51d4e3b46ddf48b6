"""The workspace of a claimed job is parsed when somebody looks; nobody notices."""

from __future__ import annotations

import copy
import pickle

import pytest
from django.db import connection
from django.db.models.signals import post_init

from django_dbq.engines import Claim
from django_dbq.models import Job, workspace
from django_dbq.rules.outcomes import Completed, Retried
from django_dbq.rules.states import State
from django_dbq.worker import executor
from django_dbq.worker.connections import open_transactions
from tests.worker.conftest import nothing, now, row

pytestmark = pytest.mark.django_db

WORKSPACE = {"of": {"the": ["job", "Grüße"]}}


def perform(job):
    return executor.perform(job, already_open=open_transactions())


@pytest.fixture
def run(claimed, engine):
    """Run one task of a fresh job and write its outcome down; the job's row afterwards."""

    def run(job=None):
        job = job or claimed(WORKSPACE)
        engine.acknowledge([(job, perform(job))], now=now())
        return row(job)

    return run


def test_threads_that_look_first_at_the_same_time_see_one_workspace(monkeypatch):
    job = Job(name="noop")
    job.unread_workspace('{"of": 1}')
    seen = []

    def while_another_looks(text):
        monkeypatch.undo()
        seen.append(job.workspace)
        return workspace.parsed(text)

    monkeypatch.setattr(workspace, "parsed", while_another_looks)
    assert job.workspace is seen[0]


def look_whether_it_is_cancelled(job):
    assert not job.cancel_requested


def refresh_another_field(job):
    job.refresh_from_db(fields=["state"])


def cancel_itself(job):
    job.cancel()


def save(job):
    job.priority = 3
    job.save()


def forget_it(job):
    assert job.workspace
    del job.workspace


WITHOUT_LOOKING = [
    look_whether_it_is_cancelled,
    refresh_another_field,
    cancel_itself,
    save,
    forget_it,
]


@pytest.mark.parametrize("act", WITHOUT_LOOKING)
def test_what_a_task_does_without_looking_at_the_workspace_leaves_it_alone(declare, run, act):
    declare(act)

    assert run().workspace == WORKSPACE


@pytest.mark.parametrize("act", WITHOUT_LOOKING)
def test_a_task_that_looks_late_finds_the_workspace(declare, run, act):
    seen = []

    def task(job):
        act(job)
        seen.append(job.workspace)

    declare(task)
    run()

    assert seen == [WORKSPACE]


def test_a_refresh_that_fails_leaves_the_workspace_alone(declare, run):
    def task(job):
        pk, job.pk = job.pk, None
        with pytest.raises(Job.DoesNotExist):
            job.refresh_from_db()
        job.pk = pk

    declare(task)

    assert run().workspace == WORKSPACE


def test_a_refresh_reads_a_workspace_that_nobody_has_looked_at(declare, run):
    seen = []

    def task(job):
        Job.objects.filter(pk=job.pk).update(workspace={"by": "others"})
        job.refresh_from_db()
        seen.append(job.workspace)

    declare(task)

    assert run().workspace == {"by": "others"}
    assert seen == [{"by": "others"}]


def test_a_save_does_not_undo_what_others_write_into_a_workspace_that_was_not_looked_at(
    declare, run
):
    def task(job):
        Job.objects.filter(pk=job.pk).update(workspace={"by": "others"})
        save(job)

    declare(task)

    job = run()
    assert (job.workspace, job.priority) == ({"by": "others"}, 3)


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda job: pickle.loads(pickle.dumps(job))],  # noqa: S301 (ours)
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_of_a_claimed_job_have_its_workspace(claimed, declare, copied):
    declare(nothing)

    assert copied(claimed(WORKSPACE)).workspace == WORKSPACE


def test_receivers_of_post_init_find_the_workspace_without_a_query(
    declare, engine, django_assert_num_queries
):
    declare(nothing)
    Job.objects.create(name="job", workspace=WORKSPACE)
    seen = []

    def look(instance, **other):
        with django_assert_num_queries(0):
            seen.append(instance.workspace)

    post_init.connect(look, sender=Job)
    try:
        (job,) = engine.claim(Claim(["default"], limit=1, worker_id=1, now=now()))
    finally:
        post_init.disconnect(look, sender=Job)

    assert seen == [WORKSPACE]
    assert job.workspace == WORKSPACE


# ── What SQL has put there, and Python cannot read ───────────────────────────────────────────────

# A number too large for a float, one too large for an int; what is valid JSON on every database
# but for the first on PostgreSQL, which writes it out.
UNREADABLE = ['{"number": 1e400}', '{"number": %s}' % ("9" * 5_000)]


@pytest.fixture(params=UNREADABLE, ids=["infinite", "huge"])
def unreadable(request, engine):
    """Claim a job with such a workspace."""

    def unreadable():
        Job.objects.create(name="job")
        cast = "::jsonb" if connection.vendor == "postgresql" else ""
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE django_dbq_job SET workspace = %s{cast}", [request.param])
        (job,) = engine.claim(Claim(["default"], limit=1, worker_id=1, now=now()))
        return job

    return unreadable


def replace(job):
    job.workspace = {"fine": True}


def replace_and_fail(job):
    replace(job)
    raise LookupError("no such thing")


def test_an_unreadable_workspace_can_be_left_alone(declare, unreadable):
    declare(nothing)

    assert perform(unreadable()) == Completed()


def test_an_unreadable_workspace_can_be_replaced(declare, run, unreadable):
    declare(replace)

    job = run(unreadable())
    assert (job.state, job.workspace) == (State.COMPLETE, {"fine": True})


def test_who_replaces_an_unreadable_workspace_and_fails_is_tried_again(declare, unreadable):
    declare(replace_and_fail, retry={"max_attempts": 2})

    outcome = perform(unreadable())
    assert isinstance(outcome, Retried)
    assert dict(outcome.changes) == {}
