"""PgBouncer in transaction mode, before the PostgreSQL server of this run."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests import databases, servers


@contextmanager
def pgbouncer() -> Iterator[str]:
    """The URL of a PgBouncer; raises NoServer where the program is missing."""
    program = servers.find_program("pgbouncer")
    if program is None:
        raise databases.NoServer("pgbouncer is not installed")
    upstream = databases.django_server("postgresql", databases.known_url("postgresql"))
    where = {
        "host": upstream["HOST"],
        "port": upstream["PORT"] or "5432",
        "user": upstream["USER"],
        "password": upstream["PASSWORD"],
    }
    with servers.private_directory("pgbouncer") as (directory, account):
        port = free_port()
        settings = directory / "pgbouncer.ini"
        settings.write_text(
            "[databases]\n"
            f"* = {' '.join(f'{name}={value}' for name, value in where.items() if value)}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            # It listens to this host alone, for the length of a test.
            "auth_type = any\npool_mode = transaction\nmax_client_conn = 100\n"
            "default_pool_size = 4\n"
        )
        settings.chmod(0o644)
        url = f"postgresql://{upstream['USER']}@127.0.0.1:{port}/"
        server = servers.Server(
            url,
            [program, str(settings)],
            directory,
            account,
            signal.SIGINT,
            lambda url: databases.lets_us_in("postgresql", url),
        )
        with server.running():
            yield url


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
