"""`manage.py check`: what is wrong with the settings, before a job finds out.

| id | found |
|---|---|
| `django_dbq.E001` | `JOBS` is not a dict |
| `django_dbq.E002` | a job's entry has the wrong shape |
| `django_dbq.E003` | a task cannot be imported or called |
| `django_dbq.E004` | a hook cannot be imported or called |
| `django_dbq.E005` | a job has an unknown key |
| `django_dbq.E006` | `DBQ` is wrong |
| `django_dbq.E007` | a function or an error class of `retry` cannot be imported, or is none |
| `django_dbq.E008` | `TASKS` names our backend, and the app is missing; see `task_backend.py` |
| `django_dbq.E009` | a job's name is declared in two places |
| `django_dbq.E010` | the `jobs` module of an app cannot be imported |
| `django_dbq.E011` | a job is `atomic`, and a task of it is async |
| `django_dbq.E012` | `TASKS` names a backend of ours that cannot be imported |
| `django_dbq.W001` | a job needs processes that this system cannot make |
| `django_dbq.W002` | `DBQ["RETENTION"]` names a job that is not declared |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from django_dbq import settings as dbq_settings
from django_dbq.exceptions import DBQError, InvalidDeclaration, TaskNotFound, UnknownJobOption
from django_dbq.rules import discovery
from django_dbq.rules.callables import class_at, function_at, is_async, task_at
from django_dbq.rules.declarations import (
    JobDeclaration,
    cannot_be_atomic,
    declared_beside,
    declared_jobs,
    declared_names,
    parse,
    require_one_place,
)
from django_dbq.rules.registered import django_task_at

CORRECT_IT = "Correct the path where the job is declared, or the module that it names."


def register_checks() -> None:
    register(check_jobs)
    register(check_settings)
    register(check_backends)


def check_jobs(**kwargs: Any) -> list[CheckMessage]:
    """Every job is declared well, and all that it names is there."""
    try:
        jobs = declared_jobs()
    except InvalidDeclaration as error:
        return [Error(error.found, hint=error.hint, id="django_dbq.E001")]
    messages = [message for name in jobs for message in _check_job(name, jobs[name])]
    for declaration in declared_beside():
        messages += _check_declaration(declaration)
    messages += _check_places(declaration.name for declaration in declared_beside())
    messages += _check_modules()
    return messages


def check_backends(**kwargs: Any) -> list[CheckMessage]:
    """Our backends of Django's Tasks API are there. Django itself looks when a task is imported."""
    tasks = getattr(settings, "TASKS", None) or {}
    entries = tasks.items() if isinstance(tasks, dict) else ()
    return [message for alias, entry in entries for message in _check_backend(alias, entry)]


def _check_backend(alias: str, entry: Any) -> Iterator[CheckMessage]:
    path = entry.get("BACKEND") if isinstance(entry, dict) else None
    if isinstance(path, str) and path.startswith("django_dbq."):
        try:
            import_string(path)
        except (ImportError, ImproperlyConfigured) as error:
            yield Error(
                f"settings.TASKS[{alias!r}]['BACKEND'] holds {path!r}: {error}",
                hint="It should be 'django_dbq.task_backend.DatabaseBackend'.",
                id="django_dbq.E012",
            )


def _check_job(name: str, entry: Any) -> list[CheckMessage]:
    try:
        declaration = parse(name, entry)
    except UnknownJobOption as error:
        return [Error(error.found, hint=error.hint, id="django_dbq.E005")]
    except InvalidDeclaration as error:
        return [Error(error.found, hint=error.hint, id="django_dbq.E002")]
    return _check_declaration(declaration)


def _check_declaration(declaration: JobDeclaration) -> list[CheckMessage]:
    return [
        *_check_functions(declaration),
        *_check_retry(declaration),
        *_check_processes(declaration),
    ]


def _check_places(names: Iterable[str]) -> Iterator[CheckMessage]:
    for name in dict.fromkeys(names):
        try:
            require_one_place(name)
        except InvalidDeclaration as error:
            yield Error(error.found, hint=error.hint, id="django_dbq.E009")


def _check_modules() -> Iterator[CheckMessage]:
    for path, reason in discovery.failed.items():
        yield Error(
            f"{path} cannot be imported: {reason}.",
            hint="The jobs that it declares by @job are not known here. Fix the module.",
            id="django_dbq.E010",
        )


def _check_functions(declaration: JobDeclaration) -> Iterator[CheckMessage]:
    for path in dict.fromkeys(declaration.tasks):
        role = f"a task of job {declaration.name!r}"
        yield from _check_function(path, role, "django_dbq.E003", find=task_at)
        if declaration.atomic and is_async(path):
            error = cannot_be_atomic(f"{path!r}, {role},")
            yield Error(error.found, hint=error.hint, id="django_dbq.E011")
    for key, path in declaration.hooks.items():
        yield from _check_function(
            path, f"the {key} of job {declaration.name!r}", "django_dbq.E004"
        )


def _check_retry(declaration: JobDeclaration) -> Iterator[CheckMessage]:
    policy = declaration.retry
    if policy is None:
        return
    role = f"of job {declaration.name!r}"
    if isinstance(policy.decide, str):
        yield from _check_function(
            policy.decide, f"which decides in the `retry` {role}", "django_dbq.E007"
        )
    for key in ("on", "never"):
        for path in getattr(policy, key):
            if isinstance(path, str):
                yield from _check_error_class(path, f"in {key!r} of the `retry` {role}")


def _check_error_class(path: str, role: str) -> Iterator[CheckMessage]:
    try:
        class_at(path)
    except TaskNotFound as error:
        yield Error(
            f"{path!r}, {role}, leads to no error class: {error.reason}.",
            hint=CORRECT_IT,
            id="django_dbq.E007",
        )


def _check_processes(declaration: JobDeclaration) -> Iterator[CheckMessage]:
    if hasattr(os, "fork"):
        return
    if declaration.isolation == "process":
        yield Warning(
            f"Job {declaration.name!r} asks for a process of its own, and this system cannot fork.",
            hint="Its tasks run in the worker's threads here, where nothing can kill them.",
            id="django_dbq.W001",
        )
    elif declaration.timeout is not None:
        yield Warning(
            f"Job {declaration.name!r} has a timeout, and this system cannot fork.",
            hint="JobTimeout is raised in its tasks, but one that does not end is not killed here.",
            id="django_dbq.W001",
        )


def _check_function(
    path: str, role: str, check_id: str, *, find: Callable[[str], Any] = function_at
) -> Iterator[CheckMessage]:
    try:
        find(path)
    except TaskNotFound as error:
        yield Error(
            f"{path!r}, {role}, cannot be called: {error.reason}.",
            hint=CORRECT_IT,
            id=check_id,
        )


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """`DBQ` has known keys with values that make sense."""
    try:
        current = dbq_settings.current()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="Correct settings.DBQ.", id="django_dbq.E006")]
    return list(_check_retention(current.retention))


def _check_retention(retention: dbq_settings.Retention | None) -> Iterator[CheckMessage]:
    try:
        declared = declared_names()
    except InvalidDeclaration:
        return  # which is told elsewhere
    for name in retention.by_name if retention else ():
        if name not in declared and not _is_django_task(name):
            yield Warning(
                f"settings.DBQ['RETENTION']['JOBS'] has {name!r}, and no such job is declared.",
                hint="If it is mistyped, the jobs that you mean are kept for as long as all "
                "others. If it is a job of the past, silence this check.",
                id="django_dbq.W002",
            )


def _is_django_task(path: str) -> bool:
    if "." not in path:
        return False
    try:
        django_task_at(path)
    except DBQError:
        return False
    return True
