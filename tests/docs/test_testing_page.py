"""The page on testing is one project, whose tests pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_dbq import testing
from django_dbq.rules.worlds import WORLDS
from django_dbq.testing import pytest_plugin
from tests.docs.test_readme import Project
from tests.docs.test_reference import REFERENCE, first_names, names_in, section, tables

PAGE = Path("docs/how-to/testing.md")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    if not WORLDS:
        pytest.skip("The page has a Django task.")
    project = Project(tmp_path_factory.mktemp("testing"))
    (project.folder / "shop/tests.py").unlink()
    with (project.folder / "mysite/settings.py").open("a") as settings:
        settings.write("INSTALLED_APPS += ['django_dbq']\n")
    project.follow(PAGE)
    return project


@pytest.mark.processes
def test_all_code_of_the_page_is_in_the_project(project):
    assert not project.snippets
    assert {"shop/tests.py", "shop/test_with_pytest.py"} < project.files


@pytest.mark.processes
def test_the_tests_of_the_page_pass_in_djangos_runner(project):
    project.manage("test", "shop")


@pytest.mark.processes
def test_the_tests_of_the_page_pass_in_pytest(project, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ["-p", "pytest_django.plugin", "-p", "django_dbq.testing.pytest_plugin"]
    files = ["shop/tests.py", "shop/test_with_pytest.py"]
    number = sum((project.folder / file).read_text().count("def test_") for file in files)

    found = project.python("-m", "pytest", "-q", *plugins, *files)

    assert number >= 7
    assert f"{number} passed" in found


def test_the_reference_has_every_name_and_every_fixture():
    text = section(REFERENCE, "In tests")
    told = [name.partition("(")[0] for name in first_names(tables(text)[0])]

    assert sorted(told) == sorted(testing.__all__)
    assert {name for name in vars(pytest_plugin) if name.startswith("dbq_")} <= set(names_in(text))
