"""Tasks in processes of their own: whatever they do there, an outcome comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from django_dbq.engines import Claim
from django_dbq.exceptions import JobCancelled, JobInterrupted
from django_dbq.models import Attempt, Job
from django_dbq.rules.states import State
from django_dbq.worker import isolation, processes
from django_dbq.worker.executor import perform
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.pools import ThreadPool
from django_dbq.worker.process_runs import ProcessRun
from django_dbq.worker.watch import Watch
from tests.compat.processes import ROOT
from tests.compat.waiting import wait_until
from tests.worker import isolated_settings
from tests.worker.conftest import now, row

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not processes.can_fork(), reason="this system cannot fork"),
]


@pytest.fixture(autouse=True)
def isolated_jobs(settings, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", isolated_settings.__name__)
    settings.JOBS = isolated_settings.JOBS


class Bench:
    """A pool with a watch that looks without a pause, as a worker's loop does."""

    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder
        self.finished, self.moved = [], []
        self.pool = ThreadPool(
            threads=2,
            perform=partial(perform, leave_async=True),  # as a worker's dispatcher has it
            finished=lambda *outcome: self.finished.append(outcome),
            moved=self.moved.append,
            ledger=Ledger(2),
        )
        self.watch = Watch(lambda: self.pool.runs)

    def begin(self, name, **fields):
        """Enqueue, claim and submit a job."""
        Job.objects.create(name=name, workspace={"folder": str(self.folder)}, **fields)
        return self.claim()

    def claim(self):
        (job,) = self.engine.claim(
            Claim(["default"], limit=1, worker_id=1, now=now() + timedelta(hours=1))
        )
        self.pool.submit([job])
        return job

    def finish(self, count=1):
        """Wait for outcomes and write them down; the first job's row."""

        def are_finished():
            self.watch.look()
            return len(self.finished) == count

        wait_until(are_finished, f"{count} jobs were finished")
        self.engine.acknowledge(self.finished, now=now(), worker="host:1")
        return row(self.finished[0][0])

    def run(self, name, **fields):
        self.begin(name, **fields)
        return self.finish()

    def pid_of_begun(self):
        file = self.folder / "begun"
        wait_until(file.exists, "the task had begun")
        return int(file.read_text())


@pytest.fixture
def bench(engine, tmp_path):
    bench = Bench(engine, tmp_path)
    try:
        with bench.pool:
            yield bench
            bench.pool.take_back()
            for run in bench.pool.runs:
                run.kill()
    finally:
        bench.pool._fork_server.close()


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def stories():
    return list(Attempt.objects.values_list("exception", "message", "number"))


# ── What comes back ──────────────────────────────────────────────────────────────────────────────


def test_what_python_ignores_in_its_path_costs_no_job_its_process(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])

    assert bench.run("tell_where").state == State.COMPLETE


def test_an_isolated_task_runs_in_another_process_and_its_changes_are_saved(bench):
    job = bench.run("tell_where")

    assert job.state == State.COMPLETE
    assert job.workspace["pid"] != os.getpid()


def test_each_run_has_a_new_process(bench):
    first, second = bench.begin("tell_where"), bench.begin("tell_where")
    bench.finish(2)

    assert row(first).workspace["pid"] != row(second).workspace["pid"]


def test_a_task_that_raises_there_has_its_story_and_its_failure_hook(bench):
    job = bench.run("raise_error")

    assert job.state == State.FAILED
    assert job.workspace["failure"] == "LookupError"
    assert stories() == [("builtins.LookupError", "no such thing", 1)]


def test_an_atomic_task_is_written_down_there(bench):
    job = bench.begin("tell_where_atomically")
    wait_until(lambda: bench.finished, "the job was finished")

    assert bench.finished[0][1].is_written
    assert row(job).state == State.COMPLETE
    assert Job.objects.filter(queue_name="made_by_the_task").count() == 1


def test_whatever_json_expresses_comes_back(bench):
    job = bench.run("return_json_that_cannot_be_pickled")

    assert stories() == []
    assert (job.state, job.result, job.queue_name) == (State.COMPLETE, "there", "here")
    assert (job.workspace["counts"], job.workspace["word"]) == ({"a": 1}, "here")


def test_what_cannot_be_sent_back_is_a_failure(bench):
    job = bench.run("return_what_cannot_be_pickled")

    assert job.state == State.FAILED
    assert stories() == [("builtins.TypeError", "not me", 1)]


def test_what_cannot_be_read_here_is_a_failure_and_no_crash(bench):
    job = bench.run("return_what_cannot_be_unpickled")

    assert (job.state, job.crashes) == (State.FAILED, 0)
    assert stories() == [("builtins.LookupError", "not here", 1)]
    assert Path(bench.folder, "runs").read_text() == "."


def test_signals_that_stop_a_worker_do_not_end_a_task_nor_the_fork_server(bench):
    assert bench.run("ignore_stop_signals").state == State.COMPLETE
    bench.finished.clear()
    assert bench.run("tell_where").state == State.COMPLETE


def test_signals_that_stop_a_worker_end_what_an_isolated_task_has_forked(bench):
    ends = bench.run("end_forks_by_signals").workspace["ends"]

    assert ends == [-signal.SIGTERM, -signal.SIGQUIT]


def test_a_job_that_is_not_held_any_more_does_not_run(bench, engine):
    bench.pool.submit([])
    Job.objects.create(name="wait", workspace={"folder": str(bench.folder)})
    (job,) = engine.claim(Claim(["default"], limit=1, worker_id=1, now=now()))
    Job.objects.update(token=job.token + 1)
    bench.pool.submit([job])
    wait_until(lambda: bench.finished, "the job was finished")

    assert not (bench.folder / "begun").exists()


# ── Suspects ─────────────────────────────────────────────────────────────────────────────────────


def test_a_job_of_which_a_worker_died_runs_in_a_process_of_its_own(bench):
    assert bench.run("suspect", crashes=1).workspace["pid"] != os.getpid()


def test_other_jobs_run_in_the_worker(bench):
    assert bench.run("suspect").workspace["pid"] == os.getpid()


@pytest.mark.parametrize(
    "judged",
    [{"crashes": 4}, {"killed_at": now()}, {"cancel_requested_at": now()}],
    ids=lambda fields: next(iter(fields)),
)
def test_a_job_that_is_only_judged_needs_no_process(judged):
    assert not isolation.needs_a_process(Job(name="tell_where", **judged))
    assert isolation.needs_a_process(Job(name="tell_where"))


# ── Deaths ───────────────────────────────────────────────────────────────────────────────────────


def test_a_process_that_dies_charges_its_job_a_crash_and_no_attempt(bench):
    job = bench.run("die")

    assert (job.state, job.crashes, job.attempts) == (State.READY, 1, 0)
    ((exception, message, number),) = stories()
    assert exception == "django_dbq.exceptions.WorkerDied"
    assert message.endswith("killed by signal SIGSEGV.")
    assert number == 1


def test_what_a_dead_process_has_forked_does_not_outlive_it(bench):
    job = bench.run("fork_and_die")

    assert job.crashes == 1
    forked = int(Path(bench.folder, "forked").read_text())
    wait_until(lambda: is_gone(forked), "the fork was gone")


def test_what_a_process_has_forked_does_not_hide_its_end(bench):
    """It holds the very line on which we would hear of it."""
    job = bench.run("fork_and_exit")
    os.kill(int(Path(bench.folder, "forked").read_text()), signal.SIGKILL)

    assert job.crashes == 1


def test_a_process_that_leaves_without_a_word_has_died_too(bench):
    job = bench.run("exit_quietly")

    assert (job.state, job.crashes) == (State.READY, 1)


def test_a_process_that_closes_its_line_to_us_counts_as_dead_when_it_has_ended(bench):
    job = bench.run("close_everything")

    assert (job.state, job.crashes) == (State.READY, 1)


def test_a_task_that_kills_its_process_again_and_again_is_poison(bench):
    bench.begin("die")
    for crashes in (1, 2, 3):
        job = bench.finish()
        assert job.crashes == crashes
        bench.finished.clear()
        bench.claim()
    job = bench.finish()

    assert (job.state, job.crashes) == (State.FAILED, 3)
    assert [exception.rpartition(".")[2] for exception, _, _ in stories()] == [
        *["WorkerDied"] * 3,
        "PoisonJob",
    ]


def test_a_failure_hook_that_kills_is_run_once_more_and_in_a_process_of_its_own(bench):
    bench.begin("die_and_die_of_the_hook")
    for crashes in (1, 2, 3, 4):
        assert bench.finish().crashes == crashes
        bench.finished.clear()
        bench.claim()
    job = bench.finish()

    assert (job.state, job.crashes) == (State.FAILED, 4)


def test_a_neighbour_of_a_dying_process_goes_on(bench):
    dying, living = bench.begin("die"), bench.begin("tell_where")
    bench.finish(2)

    assert row(dying).crashes == 1
    assert (row(living).state, row(living).crashes) == (State.COMPLETE, 0)


def test_a_new_fork_server_takes_the_place_of_a_dead_one(bench):
    bench.run("tell_where")
    bench.pool._fork_server._process.kill()
    bench.pool._fork_server._process.wait()
    bench.finished.clear()

    assert bench.run("tell_where").state == State.COMPLETE


def test_without_a_process_the_job_goes_back_for_a_while_and_is_charged_nothing(bench, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "no.such.settings")
    job = bench.run("tell_where")

    assert (job.state, job.attempts, job.crashes) == (State.READY, 0, 0)
    assert job.run_after > now()


# ── Being ended ──────────────────────────────────────────────────────────────────────────────────


def test_a_timeout_is_raised_in_a_sleeping_task(bench):
    began = time.monotonic()
    job = bench.run("wait_too_long")

    assert job.state == State.FAILED
    assert job.workspace["failure"] == "JobTimeout"
    assert job.workspace["failure_hook_ran_in"] != os.getpid()  # it was raised, not killed
    assert time.monotonic() - began < 10


def test_a_task_that_does_not_yield_is_killed_and_has_failed_by_its_timeout(bench):
    bench.begin("refuse_to_end")
    pid = bench.pid_of_begun()
    job = bench.finish()

    assert is_gone(pid)
    assert (job.state, job.crashes, job.attempts) == (State.FAILED, 0, 1)
    assert job.workspace["failure"] == "JobTimeout"
    assert job.workspace["failure_hook_ran_in"] == os.getpid()
    story = Attempt.objects.get()
    assert story.exception == "django_dbq.exceptions.JobTimeout"
    assert 0.5 < (story.finished_at - story.started_at).total_seconds() < 10


def test_an_async_task_that_is_killed_runs_nowhere_else(bench):
    bench.begin("block_the_loop")
    pid = bench.pid_of_begun()
    job = bench.finish()

    assert is_gone(pid)
    assert bench.moved == []
    assert (job.state, job.workspace["failure"]) == (State.FAILED, "JobTimeout")


def test_the_programs_that_a_killed_task_has_started_are_killed_with_it(bench):
    bench.begin("leave_a_child")
    bench.pid_of_begun()
    program = int(Path(bench.folder, "program").read_text())
    bench.finish()

    wait_until(lambda: is_gone(program), "the program was gone")


def test_what_a_task_has_forked_does_not_outlive_it_when_it_yields_to_its_timeout(bench):
    job = bench.run("fork_and_wait")

    assert (job.state, job.crashes) == (State.FAILED, 0)
    forked = int(Path(bench.folder, "forked").read_text())
    wait_until(lambda: is_gone(forked), "the fork was gone")


def test_a_failure_hook_is_not_timed(bench):
    job = bench.run("take_time_in_the_hook")

    assert job.state == State.FAILED
    assert job.workspace["failure_hook_ran_in"] != os.getpid()


def test_a_cancelled_task_may_tidy_up(bench):
    job = bench.begin("wait_and_tidy_up")
    bench.pid_of_begun()
    bench.watch.cancel({job.pk})
    bench.watch.cancel({job.pk})

    assert bench.finish().state == State.CANCELLED
    assert Path(bench.folder, "tidied").exists()


def test_a_task_that_holds_the_gil_is_killed_when_it_is_cancelled(bench):
    job = bench.begin("hold_the_gil")
    pid = bench.pid_of_begun()
    bench.watch.cancel({job.pk})

    assert bench.finish().state == State.CANCELLED
    assert is_gone(pid)


def test_a_worker_that_must_go_gives_its_isolated_jobs_back(bench, engine):
    bench.begin("wait")
    bench.pid_of_begun()
    bench.watch.interrupt_all()
    wait_until(lambda: bench.finished, "the job was finished")
    ((job, outcome),) = bench.finished
    engine.hand_back([job], now=now(), are_started=outcome.is_started)

    assert (row(job).state, row(job).attempts, row(job).crashes) == (State.READY, 0, 0)


@pytest.mark.parametrize("why", [JobCancelled, JobInterrupted])
def test_a_task_that_is_interrupted_before_it_begins_does_not_begin(bench, why):
    run = ProcessRun(
        Job.objects.create(name="wait", workspace={"folder": str(bench.folder)}),
        bench.pool._fork_server,
        bench.pool.ledger,
        0,
    )
    Job.objects.update(state=State.PROCESSING)
    run.interrupt(why, grace_seconds=30)
    outcome = run.perform(perform)

    assert type(outcome).__name__ == {"JobCancelled": "CalledOff"}.get(why.__name__, "HandedBack")
    assert not (bench.folder / "begun").exists()


# ── Without its worker ───────────────────────────────────────────────────────────────────────────

A_WORKER = """
import sys, django
django.setup()
from django_dbq.models import Job
from django_dbq.worker.executor import perform
from django_dbq.worker.ledger import Ledger
from django_dbq.worker.pools import ThreadPool
with ThreadPool(threads=1, perform=perform, finished=print, ledger=Ledger(1)) as pool:
    pool.submit([Job.objects.get()])
"""


@pytest.mark.parametrize("task", ["wait", "hold_the_gil"])
def test_an_isolated_task_dies_with_its_worker(bench, task):
    Job.objects.create(name=task, workspace={"folder": str(bench.folder)}, worker_id=1)
    Job.objects.update(state=State.PROCESSING)
    worker = subprocess.Popen([sys.executable, "-c", A_WORKER], cwd=ROOT)
    try:
        pid = bench.pid_of_begun()
        assert not is_gone(pid)
    finally:
        worker.kill()
        worker.wait()

    wait_until(lambda: is_gone(pid), "the task's process was gone", seconds=2)


def test_a_killed_fork_server_takes_its_processes_along(bench):
    bench.begin("hold_the_gil")
    pid = bench.pid_of_begun()
    os.kill(bench.pool._fork_server._process.pid, signal.SIGKILL)

    wait_until(lambda: is_gone(pid), "the task's process was gone", seconds=2)
    assert bench.finish().crashes == 1


def test_a_transaction_that_an_isolated_async_task_leaves_open_is_told_and_rolled_back(bench):
    job = bench.run("leave_a_transaction_open")

    assert (job.state, job.priority) == (State.FAILED, 0)
    assert [exception for exception, *_ in stories()] == [
        "django_dbq.exceptions.TransactionLeftOpen"
    ]
