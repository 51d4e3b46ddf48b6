"""Which Django task a row may name.

A path that stands in a row is data. Before a module is imported for it, it must be one that the
project runs anyway; and what is found there must be a Django task. Nothing else is ever called.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings

from django_dbq.exceptions import DjangoTaskNotFound, InvalidDeclaration, UnregisteredTask
from django_dbq.rules.worlds import is_django_task

INSTALLED = {"site-packages", "dist-packages"}  # folders of what is not the project's own


def django_task_at(path: str) -> Any:
    """The Django task at this path.

    Raises:
        UnregisteredTask: no job may call what is there, or nothing may be imported to find out.
        DjangoTaskNotFound: nothing is there; the code of another worker may have it.
        InvalidDeclaration: its module cannot be imported.
    """
    module_path, _, name = path.rpartition(".")
    if module_path not in sys.modules:
        _require_importable(path, module_path)
    try:
        module = import_module(module_path)  # waits for a thread that is importing it just now
    except Exception as error:
        raise _cannot_be_imported(path, error) from error
    try:
        found = getattr(module, name)
    except AttributeError:
        raise DjangoTaskNotFound(path, f"{module_path} has no {name!r}") from None
    if not is_django_task(found):
        raise UnregisteredTask(path, f"it is a {type(found).__name__}, and no Django task")
    if found.module_path != path:
        raise UnregisteredTask(path, f"the Django task there calls itself {found.module_path!r}")
    return found


def _require_importable(path: str, module_path: str) -> None:
    package = module_path.partition(".")[0]
    if not (_is_part_of_an_app(module_path) or _lies_in_the_project(package)):
        raise UnregisteredTask(
            path,
            "its module is part of no installed app and does not lie in the project. To allow it, "
            "import the module when Django starts, in the ready() of an AppConfig",
        )
    try:
        spec = find_spec(module_path)  # which imports the packages above it
    except Exception as error:
        is_not_there = isinstance(error, ModuleNotFoundError) and _is_above(error.name, module_path)
        if not is_not_there:
            raise _cannot_be_imported(path, error) from error
        spec = None
    if spec is None:
        raise DjangoTaskNotFound(path, f"there is no module {module_path}")


def _is_above(name: str | None, module_path: str) -> bool:
    return name is not None and f"{module_path}.".startswith(f"{name}.")


def _cannot_be_imported(path: str, error: Exception) -> InvalidDeclaration:
    told = f"The module of the task {path} cannot be imported ({type(error).__name__}: {error})."
    return InvalidDeclaration(told, hint="Fix it, and rerun the job.")


def _is_part_of_an_app(module_path: str) -> bool:
    names = (app.name for app in apps.get_app_configs())
    return any(module_path == name or module_path.startswith(f"{name}.") for name in names)


def _lies_in_the_project(package: str) -> bool:
    """Whether this top-level package is beside that of the settings, and nobody has installed it.

    To look for it imports nothing.
    """
    root = _project_root()
    try:
        spec = find_spec(package) if package and root else None
    except ValueError:  # it was put together in memory
        return False
    if root is None or spec is None:
        return False
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations
    paths = [Path(place).resolve() for place in places or () if place]
    return any(root in path.parents and not INSTALLED & set(path.parts) for path in paths)


def _project_root() -> Path | None:
    """The folder from which the settings are imported."""
    name = getattr(settings, "SETTINGS_MODULE", None)
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    if name is None or file is None:
        return None
    path = Path(file).resolve()
    is_package = path.name == "__init__.py"
    root = path.parents[name.count(".") + is_package]
    return None if root == Path(root.anchor) else root
