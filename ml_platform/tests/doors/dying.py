"""A connection that its database ends at one statement of a request, or at a commit."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import psycopg
from django.db import OperationalError, connection

from ml_platform.tests.postgres import USER, postgres_host


@dataclass
class Death:
    """When it comes, and whether it came."""

    at: int
    asked: int = 0

    def is_due(self) -> bool:
        """Whether it comes now; counts the statements."""
        self.asked += 1
        return self.asked == self.at

    @property
    def came(self) -> bool:
        """Whether there were so many statements."""
        return self.asked >= self.at


def end_connection() -> None:
    """End Django's connection as an administrator does; SQLite has nobody who could."""
    if connection.vendor != "postgresql":
        raise OperationalError("disk I/O error")
    pid = connection.connection.info.backend_pid
    _administrator().execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@cache
def _administrator() -> psycopg.Connection[Any]:
    """Kept for all deaths: each connection is a process of the server."""
    kept = psycopg.connect(host=postgres_host(), user=USER, autocommit=True)
    atexit.register(kept.close)
    return kept


@contextmanager
def dying_at_statement(death: Death) -> Iterator[None]:
    """Django's connection ends before one statement."""

    def run(execute: Callable[..., Any], *args: Any) -> Any:
        if death.is_due():
            end_connection()
        return execute(*args)

    with connection.execute_wrapper(run):
        yield
    connection.close()  # as Django does at the end of a request


@contextmanager
def dying_at_commit(death: Death, *, after: bool) -> Iterator[None]:
    """Django's connection ends before or after one commit."""
    wrapper: Any = connection  # its methods are none of the proxy's types
    commit = wrapper._commit

    def run() -> None:
        due = death.is_due()
        if due and not after:
            end_connection()
        commit()
        if due and after:
            end_connection()
            raise OperationalError("server closed the connection unexpectedly")

    wrapper._commit = run
    try:
        yield
    finally:
        del wrapper._commit
    connection.close()
