"""Which modules may be imported because a row names a task in them."""

from __future__ import annotations

import sys
import types

import pytest

from django_dbq.exceptions import DjangoTaskNotFound, InvalidDeclaration, UnregisteredTask
from django_dbq.rules import django_tasks, registered
from django_dbq.rules.django_tasks import declaration_at, declaration_of_task


@pytest.fixture
def project(tmp_path, monkeypatch, settings):
    """A folder with the package `mysite`, whose `settings` are in force."""
    (tmp_path / "mysite").mkdir()
    file = tmp_path / "mysite" / "settings.py"
    file.touch()
    module = types.ModuleType("mysite.settings")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "mysite.settings", module)
    settings.SETTINGS_MODULE = "mysite.settings"
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def module_in(folder, name):
    """A module that leaves a file behind when it is imported; whether it has been."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f"{name}.imported"
    (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n\ndef task(): pass\n")
    return mark.exists


def test_a_module_in_the_projects_folder_is_imported_and_what_is_no_task_refused(project):
    is_imported = module_in(project, "dbq_jobs_of_mine")

    with pytest.raises(UnregisteredTask, match="it is a function, and no Django task"):
        declaration_at("dbq_jobs_of_mine.task")
    assert is_imported()


def test_what_is_installed_below_that_folder_is_not_imported(project, monkeypatch):
    packages = project / ".venv" / "lib" / "site-packages"
    is_imported = module_in(packages, "dbq_somebody_elses")
    monkeypatch.syspath_prepend(packages)

    with pytest.raises(UnregisteredTask, match="does not lie in the project"):
        declaration_at("dbq_somebody_elses.task")
    assert not is_imported()


def test_what_lies_elsewhere_is_not_imported(project, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    is_imported = module_in(elsewhere, "dbq_of_nobody")
    monkeypatch.syspath_prepend(elsewhere)

    with pytest.raises(UnregisteredTask, match="does not lie in the project"):
        declaration_at("dbq_of_nobody.task")
    assert not is_imported()


def test_without_a_settings_module_only_apps_are_the_projects_own(project, settings):
    is_imported = module_in(project, "dbq_configured_by_hand")
    settings.SETTINGS_MODULE = None

    with pytest.raises(UnregisteredTask):
        declaration_at("dbq_configured_by_hand.task")
    assert not is_imported()


def test_a_module_that_cannot_be_imported_is_told_with_its_error(project):
    (project / "dbq_broken.py").write_text("1 / 0\n")

    with pytest.raises(InvalidDeclaration, match="cannot be imported"):
        declaration_at("dbq_broken.task")


@pytest.mark.parametrize("path", ["django_dbq.nothing_here.task", "django_dbq.tasks.nothing_here"])
def test_what_an_app_does_not_have_may_be_in_another_workers_code(path):
    with pytest.raises(DjangoTaskNotFound):
        declaration_at(path)


# What is found is looked up anew, and only that


@pytest.fixture
def tasks():
    return pytest.importorskip("tests.doors.tasks")


def test_a_task_that_was_put_in_place_of_another_is_the_one_that_runs(tasks, monkeypatch):
    def add(first, second=0):
        return "another"

    add.__module__, add.__qualname__ = tasks.add.func.__module__, "add"
    before = declaration_at(tasks.add.module_path)
    monkeypatch.setattr(tasks, "add", tasks.task(add))

    declaration = declaration_at(tasks.add.module_path)
    assert declaration.task is tasks.add
    assert declaration.task.func is add
    assert before.task is not tasks.add


def test_what_using_has_changed_is_not_what_the_path_stands_for(tasks, monkeypatch):
    for cache in (django_tasks._parsed, django_tasks._found):
        monkeypatch.delitem(cache, tasks.add.module_path, raising=False)
    declaration_of_task(tasks.add.using(priority=7))

    assert declaration_at(tasks.add.module_path).task is tasks.add


def test_a_task_that_is_known_is_not_imported_again(tasks, monkeypatch):
    declaration_of_task(tasks.add.using(priority=7))
    declaration_at(tasks.add.module_path)
    monkeypatch.setattr(registered, "django_task_at", None)

    assert declaration_at(tasks.add.module_path).task is tasks.add


# A package that is broken


def package_in(folder, name, code):
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code)
    (folder / name / "tasks.py").write_text("def task(): pass\n")


def test_a_package_that_raises_is_told_as_what_it_is(project):
    package_in(project, "dbq_broken", "raise RuntimeError('boom')")

    with pytest.raises(InvalidDeclaration, match=r"cannot be imported \(RuntimeError: boom\)"):
        declaration_at("dbq_broken.tasks.task")


def test_a_package_that_lacks_a_library_is_not_taken_for_one_that_is_not_there(project):
    package_in(project, "dbq_lacking", "import no_such_library_at_all")

    with pytest.raises(InvalidDeclaration, match="no_such_library_at_all") as raised:
        declaration_at("dbq_lacking.tasks.task")
    assert not isinstance(raised.value, DjangoTaskNotFound)


def test_a_package_that_is_not_there_is_left_to_the_code_of_another_worker(project):
    package_in(project, "dbq_whole", "")

    for path in ("dbq_whole.gone.task", "dbq_whole.gone.tasks.task"):
        with pytest.raises(DjangoTaskNotFound):
            declaration_at(path)


def test_the_root_of_the_file_system_is_no_project(project, monkeypatch, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    is_imported = module_in(elsewhere, "dbq_of_root")
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.setattr(sys.modules["mysite.settings"], "__file__", "/mysite/settings.py")

    with pytest.raises(UnregisteredTask, match="does not lie in the project"):
        declaration_at("dbq_of_root.task")
    assert not is_imported()
