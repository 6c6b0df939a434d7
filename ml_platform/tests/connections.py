"""How a test's connection to the database comes to its end."""

from __future__ import annotations

from django.db import OperationalError, connection


def end_connection() -> None:
    """End this thread's connection, as a server that is restarted does: its next statement is
    refused. SQLite has no server, and refuses at once.

    :raises OperationalError: on SQLite.
    """
    if connection.vendor == "sqlite":
        raise OperationalError("database is locked")
    pid = connection.connection.info.backend_pid
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            assert cursor.fetchone() == (True,), "the backend lives on"
    finally:
        other.close()


def lose_answer() -> None:
    """End it when a statement has taken effect and its answer is under way.

    :raises OperationalError: always.
    """
    end_connection()
    raise OperationalError("server closed the connection unexpectedly")
