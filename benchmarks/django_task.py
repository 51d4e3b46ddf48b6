"""The Django task of the measured project. Apart, because before Django 6.0 it needs a package."""

from __future__ import annotations

from django_dbq.task_backend import task


@task
def noop() -> None:
    pass
