"""The hooks of the job `index_module`, each there for a reason."""

from __future__ import annotations

import time

from django.conf import settings
from django.db import transaction

from django_dbq.models import Job
from example.catalog import library
from example.catalog.models import Failure, Module
from example.catalog.outline import printable

PACKAGES_FIRST = 10


def on_creation(job: Job) -> None:
    """Complete the job, whoever enqueues it: a run of all, a button on a page, a shell.

    Runs before the row is written, so what it sets is saved with it. A path that leads out of the
    library is refused here: it raises, and no job is created.
    """
    path = job.workspace["path"]
    library.locate(path)
    job.workspace["module"] = library.module_name(path)
    job.workspace["is_package"] = library.is_package(path)
    if library.is_package(path) and job.priority == 0:
        job.priority = PACKAGES_FIRST  # a package before the single modules in it


def before_task(job: Job) -> None:
    """Check again that the path is ours, then start the clock.

    A row can also be made or changed behind the back of the creation hook, by SQL for one. When
    this raises, the task does not run and no file is opened.
    """
    library.locate(job.workspace["path"])
    job.workspace["running"] = {"task": short_name(job.next_task), "since": time.time()}


def after_task(job: Job) -> None:
    """Stop the clock. Runs whether the task went well or not."""
    running = job.workspace.pop("running", None)
    if running:
        took = time.time() - running["since"]
        job.workspace.setdefault("milliseconds", {})[running["task"]] = round(took * 1000, 1)


def on_failure(job: Job, exception: BaseException) -> None:
    """Tell the story of a file that could not be indexed, for the page of failures."""
    path = printable(str(job.workspace.get("path", "")))[:255]
    is_syntax_error = isinstance(exception, SyntaxError)
    with transaction.atomic():
        Failure.objects.filter(path=path).delete()
        # What an earlier version of this file had in it would be a lie now.
        Module.objects.filter(path=path).delete()
        Failure.objects.create(
            path=path,
            job_id=job.id,
            task=job.workspace.get("running", {}).get("task", "before_task"),
            exception=type(exception).__name__,
            message=_message_of(exception),
            line=(exception.lineno or None) if is_syntax_error else None,
            column=_column_of(exception) if is_syntax_error else None,
            source=printable((exception.text or "").rstrip()) if is_syntax_error else "",
        )


def _message_of(exception: BaseException) -> str:
    text = exception.msg if isinstance(exception, SyntaxError) else str(exception)
    return printable(str(text).replace(f"{settings.LIBRARY}/", ""))


def _column_of(error: SyntaxError) -> int | None:
    return error.offset if error.offset and error.offset > 0 else None


def short_name(dotted_path: str) -> str:
    return dotted_path.rpartition(".")[2]
