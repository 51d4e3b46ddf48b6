"""The example's app, a library of a few files for it to index, and the browser that looks at it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings as django_settings

CHROMIUM = Path(os.environ.get("DBQ_TEST_CHROMIUM", "/usr/bin/chromium"))

# Here and not in the settings of the tests' project: the worker processes that other tests start
# need no example. Before any test module of this folder is read, and before tables are made.
if not apps.is_installed("example.catalog"):
    django_settings.INSTALLED_APPS = [
        *django_settings.INSTALLED_APPS,
        "django.contrib.staticfiles",
        "example.catalog",
    ]
    django_settings.STATIC_URL = "/static/"
    apps.set_installed_apps(django_settings.INSTALLED_APPS)

HOSTILE = "<img src=x onerror=alert(1)>"

FILES = {
    "alpha.py": '''\
"""Alpha: the first one."""
import os, sys
import beta.gamma


class Shape:
    def area(self):
        def inner():
            return 0
        return inner()

    async def wait(self):
        pass


if sys.platform:
    def conditional():
        pass
''',
    "beta/__init__.py": "from . import gamma\n",
    "beta/gamma.py": f'''\
"""{HOSTILE}"""
from .. import alpha
from .delta import x

def run(): pass
''',
    "beta/latin.py": b"# -*- coding: latin-1 -*-\nname = '\xe9'\n",
    "broken.py": f'"""Broken."""\nprint "{HOSTILE}"\n',
    "coding.py": "# -*- coding: no-such-thing -*-\n",
    "notes.txt": "no module",
    "site-packages/other.py": "import os\n",
    "__pycache__/cached.py": "import os\n",
}


def python_says(path: str) -> str:
    """What is wrong with a file that does not parse, in the words of the Python that runs us."""
    try:
        compile(FILES[path], path, "exec")
    except SyntaxError as error:
        return error.msg
    raise AssertionError(f"{path} parses")


GOOD = ["alpha.py", "beta/__init__.py", "beta/gamma.py", "beta/latin.py"]
BAD = ["broken.py", "coding.py"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: looks at a page with a real Chromium")


def why_no_browser() -> str | None:
    if not CHROMIUM.exists():
        return f"there is no {CHROMIUM}"
    if importlib.util.find_spec("playwright") is None:
        return "the Python package playwright is not installed"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_no_browser()
    for item in items:
        if reason and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=f"no browser: {reason}"))


def pytest_terminal_summary(terminalreporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if any("no browser: " in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(
            f"NOT RUN: the tests in a browser, because {why_no_browser()}.", yellow=True
        )


@pytest.fixture
def library(tmp_path) -> Path:
    """A folder with modules that parse, modules that do not, and files that are not ours."""
    root = tmp_path / "library"
    for path, content in FILES.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.fixture
def example(settings, library) -> None:
    """The settings of the example, on the tests' database and on the small library."""
    from example import settings as of_example

    settings.JOBS = of_example.JOBS
    settings.DBQ = of_example.DBQ
    settings.ROOT_URLCONF = of_example.ROOT_URLCONF
    settings.TEMPLATES = of_example.TEMPLATES
    settings.MIDDLEWARE = of_example.MIDDLEWARE
    settings.LIBRARY = library


@pytest.fixture
def run_jobs(example, db):
    """Run all due jobs, one task after the other, in this process."""
    from django_dbq.management.commands.worker import Worker
    from django_dbq.models import Job

    def run() -> None:
        worker = Worker("default", 0)
        while Job.get_queue_depths(exclude_future_jobs=True):
            worker._process_job()

    return run


@pytest.fixture
def indexed(run_jobs) -> None:
    """The small library, indexed."""
    from example.catalog import index

    index.enqueue_modules()
    run_jobs()
