"""What `make test` installs from the system: as root, on Debian and its kin, if at all.

DBQ_TEST_INSTALL=0 forbids it.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests import databases, servers


def mariadb() -> None:
    """Install what is missing for a run on MariaDB; what cannot be installed stays missing."""
    if not may_install():
        return
    server_missing = (
        not os.environ.get("DBQ_TEST_MARIADB_URL")
        and databases.local_server("mariadb") is None
        and servers.find_program("mariadbd", "mysqld") is None
    )
    if server_missing:
        apt_install("mariadb-server")
    if not is_installed("mysqlclient"):
        mysqlclient()


def browser() -> None:
    """Install the browser that looks at the example's pages; without one their test says so."""
    named = os.environ.get("DBQ_TEST_CHROMIUM") or shutil.which("chromium")
    if may_install() and not named:
        apt_install("chromium")


def faults() -> None:
    """Install what some tests of faults need; without it they are skipped and say so."""
    missing = [
        package for package in ("pgbouncer", "faketime") if servers.find_program(package) is None
    ]
    if missing and may_install():
        apt_install(*missing)


def may_install() -> bool:
    return (
        os.environ.get("DBQ_TEST_INSTALL") != "0"
        and os.geteuid() == 0
        and shutil.which("apt-get") is not None
    )


def is_installed(distribution: str) -> bool:
    # Not "can MySQLdb be imported": PyMySQL answers to that name too.
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def mysqlclient() -> None:
    """Build mysqlclient, which most projects use, if there is a compiler; PyMySQL stands in."""
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    if shutil.which("gcc") is None or not headers.exists():
        return
    if apt_install("libmariadb-dev", "pkg-config"):
        call(sys.executable, "-m", "pip", "install", "--quiet", "mysqlclient>=2.2.1,<3")


def apt_install(*packages: str) -> bool:
    install = ["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends", *packages]
    # The list of packages may be missing or old: it is fetched only when the first try fails.
    return call(*install) or (call("apt-get", "update", "--quiet=2") and call(*install))


def call(*command: str) -> bool:
    print("+", *command, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        status = subprocess.call(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        print(f"  {error}", flush=True)
        return False
    if status:
        print(f"  failed with status {status}", flush=True)
    return status == 0
