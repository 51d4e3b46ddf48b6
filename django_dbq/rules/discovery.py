"""The modules in which apps declare jobs beside their functions, imported when Django starts."""

from __future__ import annotations

import logging
from importlib import import_module

from django.apps import apps
from django.utils.module_loading import module_has_submodule

logger = logging.getLogger(__name__)

MODULE = "jobs"  # of an app

failed: dict[str, str] = {}
"""By module, why it could not be imported."""


def import_jobs() -> None:
    """Import the module `jobs` of each app that has one.

    One that raises is logged, and told by `manage.py check`, and ends nothing: in a project that
    comes from 3.3 such a module was imported by workers alone, and may need what only they have.
    """
    failed.clear()
    for app in apps.get_app_configs():
        if app.module is None or not module_has_submodule(app.module, MODULE):
            continue
        path = f"{app.name}.{MODULE}"
        try:
            import_module(path)
        except Exception as error:
            failed[path] = f"{type(error).__name__}: {error}"
            logger.exception("%s cannot be imported: the jobs that it declares are missing.", path)
