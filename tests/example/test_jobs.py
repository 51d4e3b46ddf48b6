"""The example's tasks and hooks, on a library of a few files."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from django_dbq.models import Attempt, Job
from example.catalog import index, tasks
from example.catalog.library import OutsideTheLibrary
from example.catalog.models import Definition, Failure, Import, Module, Summary
from tests.example.conftest import BAD, GOOD, HOSTILE, python_says

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("example")]


def job_of(path: str) -> Job:
    return Job.objects.get(workspace__path=path)


def test_each_module_becomes_a_job_and_packages_come_first():
    assert index.enqueue_modules() == len(GOOD + BAD)

    first = Job.objects.first()
    assert first.workspace["path"] == "beta/__init__.py"
    assert first.workspace["module"] == "beta"
    assert set(Job.objects.values_list("priority", flat=True)) == {0, 10}


def test_a_priority_that_was_asked_for_stays():
    job = Job.objects.create(
        name="index_module", workspace={"path": "beta/__init__.py"}, priority=-3
    )

    assert job.priority == -3


def test_the_creation_hook_refuses_a_path_outside_the_library():
    with pytest.raises(OutsideTheLibrary):
        index.enqueue_module("../secret.py")

    assert not Job.objects.exists()


def test_what_stands_in_the_files_is_stored(indexed):
    assert sorted(Module.objects.values_list("path", flat=True)) == sorted(GOOD)
    alpha = Module.objects.get(name="alpha")
    assert (alpha.lines, alpha.classes, alpha.functions) == (18, 1, 4)
    assert alpha.docstring == "Alpha: the first one."
    assert list(alpha.imports.values_list("target", flat=True)) == ["beta.gamma", "os", "sys"]
    assert list(alpha.definitions.values_list("qualified_name", "kind", "line"))[:2] == [
        ("Shape", "class", 6),
        ("Shape.area", "method", 7),
    ]
    assert Module.objects.get(name="beta.latin").encoding == "iso-8859-1"


def test_the_workspace_ends_small_and_tells_how_long_each_task_took(indexed):
    job = job_of("alpha.py")

    assert job.state == Job.STATES.COMPLETE
    assert sorted(job.workspace["milliseconds"]) == ["parse", "read", "store"]
    assert "outline" not in job.workspace
    assert "running" not in job.workspace


def test_a_file_that_does_not_parse_ends_failed_with_its_story_told(indexed):
    job = job_of("broken.py")
    failure = Failure.objects.get(path="broken.py")

    assert job.state == Job.STATES.FAILED
    assert failure.job_id == job.pk
    assert (failure.task, failure.exception, failure.line) == ("parse", "SyntaxError", 2)
    assert failure.message == python_says("broken.py")
    assert failure.source == f'print "{HOSTILE}"'
    assert "".join(failure.source_around_column) == failure.source
    assert not Module.objects.filter(path="broken.py").exists()
    assert sorted(job.workspace["milliseconds"]) == ["parse", "read"]  # the post-task hook ran


def test_the_package_tells_the_story_too(indexed):
    attempt = Attempt.objects.get(job_id=job_of("broken.py").pk)

    assert attempt.task == "example.catalog.tasks.parse"
    assert attempt.exception.endswith("SyntaxError")
    assert python_says("broken.py") in attempt.message
    assert "ast.parse" in attempt.traceback


def test_a_file_that_cannot_be_decoded_fails_while_it_is_read(indexed, library):
    failure = Failure.objects.get(path="coding.py")

    assert (failure.task, failure.line, failure.source) == ("read", None, "")
    assert "no-such-thing" in failure.message
    assert str(library) not in failure.message


def test_a_changed_row_opens_no_file_outside_the_library(run_jobs):
    index.enqueue_modules(["alpha"])
    Job.objects.update(workspace={"path": "../secret.py", "module": "x", "is_package": False})

    run_jobs()

    job = Job.objects.get()
    assert job.state == Job.STATES.FAILED
    assert "sha256" not in job.workspace
    assert Failure.objects.get().exception == "OutsideTheLibrary"


def test_storing_twice_leaves_the_same_behind(indexed):
    job = job_of("alpha.py")
    before = (Module.objects.count(), Definition.objects.count(), Import.objects.count())

    for _ in range(2):
        tasks.read(job)
        tasks.parse(job)
        tasks.store(job)

    assert (Module.objects.count(), Definition.objects.count(), Import.objects.count()) == before


def test_a_file_that_was_mended_is_no_failure_any_more(indexed, library, run_jobs):
    (library / "broken.py").write_text("print('mended')\n")

    index.enqueue_module("broken.py")
    run_jobs()

    assert Module.objects.filter(path="broken.py").exists()
    assert not Failure.objects.filter(path="broken.py").exists()


def test_a_file_that_was_broken_is_no_module_any_more(indexed, library, run_jobs):
    (library / "alpha.py").write_text("def\n")

    index.enqueue_module("alpha.py")
    run_jobs()

    assert not Module.objects.filter(path="alpha.py").exists()
    assert Failure.objects.get(path="alpha.py").line == 1


def test_the_summary_waits_for_its_time(run_jobs):
    index.enqueue_modules()
    index.schedule_summary(timedelta(hours=1))

    run_jobs()

    assert not Summary.objects.exists()
    assert Job.objects.get(name="summarize").state == Job.STATES.NEW


def test_a_due_summary_counts_after_all_modules(run_jobs):
    index.schedule_summary(timedelta(0))
    index.enqueue_modules()

    run_jobs()

    summary = Summary.objects.get()
    assert (summary.modules, summary.failures, summary.unfinished) == (len(GOOD), len(BAD), 0)
    assert (summary.classes, summary.functions) == (1, 5)


def test_a_summary_that_comes_too_early_schedules_one_other(example):
    index.enqueue_modules()
    job = index.schedule_summary(timedelta(0))

    tasks.summarize(job)
    tasks.summarize(job)  # its worker died before it could write down that it was done

    assert Summary.objects.get().unfinished == len(GOOD + BAD)
    later = Job.objects.filter(name="summarize").exclude(pk=job.pk).get()
    assert later.run_after > timezone.now()


def test_starting_over_leaves_nothing(indexed):
    index.start_over()

    for model in (Module, Definition, Import, Failure, Summary, Job):
        assert not model.objects.exists()
