from __future__ import annotations

import pytest

from example.catalog import library as catalog_library
from tests.example.conftest import BAD, GOOD

pytestmark = pytest.mark.usefixtures("example")


def test_every_python_file_is_found_and_nothing_that_others_installed():
    assert sorted(catalog_library.module_paths()) == sorted(GOOD + BAD)


def test_packages_can_be_chosen():
    assert list(catalog_library.module_paths(["beta"])) == [p for p in GOOD if p.startswith("beta")]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("json/__init__.py", "json"),
        ("json/tool.py", "json.tool"),
        ("os.py", "os"),
        ("__init__.py", "__init__"),
    ],
)
def test_a_module_has_the_name_by_which_it_is_imported(path, name):
    assert catalog_library.module_name(path) == name


def test_the_library_knows_its_modules():
    names = ["beta", "beta.gamma", "beta.gamma.x", "delta", "notes", ""]

    assert [name for name in names if catalog_library.is_module(name)] == ["beta", "beta.gamma"]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/etc/passwd.py", "../secret.py", "json/../../secret.py", "alpha.txt", ""],
)
def test_a_path_that_leads_out_of_the_library_is_refused(path):
    with pytest.raises(catalog_library.OutsideTheLibrary, match="is not the path of a module"):
        catalog_library.locate(path)


def test_the_standard_library_is_what_is_indexed_by_default():
    import sysconfig

    from example import settings

    assert str(settings.LIBRARY) == sysconfig.get_path("stdlib")
