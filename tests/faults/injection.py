"""An app in the worker processes of these tests: the process dies at a point that the test names.

The database and the code in between are the real ones. `DBQ_FAULTS_KILL="claim:after"` kills the
process that first comes there (before or after that verb of the engine), and a file says so.

It also tells each Django task for which claim of its job it runs, so that the journal can be kept.
"""

from __future__ import annotations

import functools
import os
import signal

from django.apps import AppConfig

from tests.faults import journal


class InjectionConfig(AppConfig):
    name = "tests.faults.injection"
    label = "faults_injection"

    def ready(self):
        _tell_django_tasks()
        point = os.environ.get("DBQ_FAULTS_KILL")
        if point:
            _arm(*point.split(":"))
        if os.environ.get("DBQ_FAULTS_MAX_PAGES"):
            from django.db.backends.signals import connection_created

            connection_created.connect(_keep_the_file_small)


def _tell_django_tasks():
    from django_dbq.worker.calls import DjangoTaskCall

    original = DjangoTaskCall.__call__

    def call(self):
        journal.called.set(self.job)
        return original(self)

    DjangoTaskCall.__call__ = call


def _arm(verb, moment):
    from django_dbq.engines import engine_for

    engine_class = type(engine_for("default"))
    original = getattr(engine_class, verb)

    @functools.wraps(original)
    def deadly(*args, **kwargs):
        if moment == "before":
            _die(f"{verb}:{moment}")
        answer = original(*args, **kwargs)
        if answer or verb != "claim":  # a claim that found nothing is no fault to survive
            _die(f"{verb}:{moment}")
        return answer

    setattr(engine_class, verb, deadly)


def _die(point):
    """Only the first process that comes here dies, and only once the test has armed it."""
    armed = journal.folder() / "armed"
    try:
        armed.rename(journal.folder() / "fired")
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _keep_the_file_small(sender, connection, **kwargs):
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA max_page_count = {int(os.environ['DBQ_FAULTS_MAX_PAGES'])}")
