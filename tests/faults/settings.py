"""The settings of the worker processes that these tests start: on the tests' databases."""

from __future__ import annotations

import json
import os

from tests.project.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults.injection.InjectionConfig"]  # noqa: F405
DATABASES["default"].update(json.loads(os.environ.get("DBQ_FAULTS_DATABASE", "{}")))  # noqa: F405
DBQ = {"RATE_LIMIT": 0, **json.loads(os.environ.get("DBQ_FAULTS_DBQ", "{}"))}


def _declared(name, *tasks, **options):
    return {name: {"tasks": [f"tests.faults.tasks.{task}" for task in tasks or [name]], **options}}


JOBS = {
    **_declared("note"),
    **_declared("hold"),
    **_declared("work"),
    **_declared("grow"),
    **_declared("work_alone", "work", isolation="process"),
    **_declared("steps", "note", "work", "note"),
    **_declared("die", failure_hook="tests.faults.tasks.told_of_failure"),
    **_declared("die_once"),
    **_declared("hog"),
    **_declared("hold_the_gil"),
    **_declared("flaky", retry={"max_attempts": 5, "delays": [0.05]}),
    **_declared("atomic_effect", atomic=True, retry={"max_attempts": 20, "delays": [0.05]}),
    **_declared("endless", timeout=0.5, grace=0.5),
    **_declared("endless_alone", "endless", timeout=0.5, grace=0.5, isolation="process"),
    **_declared("new_in_this_version", "note"),
    **_declared("note_async"),
    **_declared("hold_async"),
    **_declared("hold_async_for_a_second", "hold_async", timeout=1),
    **_declared("work_async"),
    **_declared("work_async_alone", "work_async", isolation="process"),
    **_declared("steps_async", "note_async", "work", "note_async"),
    **_declared("flaky_async", retry={"max_attempts": 5, "delays": [0.05]}),
    **_declared("ask_async", retry={"max_attempts": 20, "delays": [0.05]}),
    **_declared("die_once_async"),
    **_declared("block"),
    **_declared("endless_async", timeout=0.5, grace=0.5),
    **_declared("restless_async", timeout=0.5, grace=0.5),
}
for left_out in filter(None, os.environ.get("DBQ_FAULTS_UNDECLARED", "").split(",")):
    del JOBS[left_out]
