"""The tasks of the example's jobs.

Each may run twice: a worker can die after a task's work and before it could write down that the
task is done. So each leaves the same behind however often it runs.
"""

from __future__ import annotations

import ast
import hashlib
import tokenize
import warnings
from dataclasses import asdict
from datetime import timedelta

from django.db import transaction
from django.db.models import Sum

from django_dbq.models import Job
from example.catalog import index, library
from example.catalog.models import Definition, Failure, Import, Module, Summary
from example.catalog.outline import outline_of

LOOK_AGAIN_AFTER = timedelta(seconds=1)


def read(job: Job) -> None:
    """What kind of file is it? Keeps facts only: a workspace is a row of the job table."""
    path = library.locate(job.workspace["path"])
    content = path.read_bytes()
    with tokenize.open(path) as source:  # decodes as Python would: by BOM, coding line or UTF-8
        lines = sum(1 for _ in source)
    job.workspace.update(
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        encoding=source.encoding,
        lines=lines,
    )


def parse(job: Job) -> None:
    """What stands in it? Leaves the outline in the workspace for the next task."""
    path = library.locate(job.workspace["path"])
    source = path.read_text(encoding=job.workspace["encoding"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the library's own doubtful escapes
        tree = ast.parse(source, filename=job.workspace["path"])
    outline = outline_of(
        tree,
        module=job.workspace["module"],
        is_package=job.workspace["is_package"],
        is_module=library.is_module,
    )
    job.workspace["outline"] = asdict(outline)


def store(job: Job) -> None:
    """Write down what was found, in place of what was known of this module before."""
    found = job.workspace["outline"]
    with transaction.atomic():
        # First a write: see `transaction_mode` in the settings.
        Failure.objects.filter(path=job.workspace["path"]).delete()
        module = _store_module(job, found)
        module.definitions.all().delete()
        module.imports.all().delete()
        Definition.objects.bulk_create(
            Definition(
                module=module,
                kind=kind,
                name=qualified_name.rpartition(".")[2][:255],
                qualified_name=qualified_name[:500],
                line=line,
            )
            for kind, qualified_name, line in found["definitions"]
        )
        Import.objects.bulk_create(
            Import(module=module, target=target[:255]) for target in found["imports"]
        )
    # It is in its tables now. Finished jobs are kept for a while, and should be small.
    del job.workspace["outline"]


def _store_module(job: Job, found: dict) -> Module:
    kinds = [kind for kind, _, _ in found["definitions"]]
    module, _ = Module.objects.update_or_create(
        path=job.workspace["path"],
        defaults={
            "name": job.workspace["module"],
            "is_package": job.workspace["is_package"],
            "docstring": found["docstring"],
            "size": job.workspace["size"],
            "lines": job.workspace["lines"],
            "sha256": job.workspace["sha256"],
            "encoding": job.workspace["encoding"],
            "classes": kinds.count("class"),
            "functions": kinds.count("function") + kinds.count("method"),
            "job_id": job.id,
        },
    )
    return module


def summarize(job: Job) -> None:
    """Count what the index holds; when modules are still on their way, look again later."""
    with transaction.atomic():
        counted_before, _ = Summary.objects.filter(job_id=job.id).delete()
        totals = Module.objects.aggregate(
            lines=Sum("lines", default=0),
            classes=Sum("classes", default=0),
            functions=Sum("functions", default=0),
        )
        summary = Summary.objects.create(
            job_id=job.id,
            scheduled_for=job.run_after or job.created,
            modules=Module.objects.count(),
            imports=Import.objects.count(),
            failures=Failure.objects.count(),
            unfinished=index.count_unfinished_modules(),
            **totals,
        )
        # Part of the same transaction: the summary and its successor exist both, or neither.
        if summary.unfinished and not counted_before:
            index.schedule_summary(LOOK_AGAIN_AFTER)
