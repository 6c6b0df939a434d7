"""One answer is one snapshot: all its rows are read as they were at one moment (law 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper

from .database import atomic, write_connection

READ_ONLY = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


@contextmanager
def snapshot() -> Iterator[None]:
    """Read in one read-only transaction, so that the numbers of an answer agree while others write.

    Open it after authentication, which may write; read plain values in it; leave it before the
    answer is rendered and before any call to Google. Inside an open transaction it adds nothing.

    PostgreSQL refuses a write in it. A write on SQLite may fail: its snapshot cannot become the
    newest state (https://www.sqlite.org/isolation.html).
    """
    connection = write_connection()
    if connection.in_atomic_block or not connection.get_autocommit():
        yield
        return
    with ExitStack() as stack:
        with _deferred(connection):
            stack.enter_context(atomic())
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(READ_ONLY)
        yield


@contextmanager
def _deferred(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Begin without SQLite's write lock, whatever `transaction_mode` the host has set for writes.

    The attribute exists on SQLite's connections only, since Django 5.1.
    """
    mode = getattr(connection, "transaction_mode", None)
    if mode is None:  # a plain BEGIN, which is deferred
        yield
        return
    connection.transaction_mode = "DEFERRED"  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection.transaction_mode = mode  # type: ignore[attr-defined]
