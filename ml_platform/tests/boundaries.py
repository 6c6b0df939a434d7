"""Every place where a process may die, or where its connection to the database may end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from ml_platform.cloud.transport import channels


class BrokenInvariant(BaseException):
    """Not an Exception, so that no handler of the product can take it for a failure of a step."""


def outside_transactions(method: str) -> None:
    """S0: no remote call runs inside a transaction of the database."""
    if connection.in_atomic_block:
        raise BrokenInvariant(f"S0 no call inside a transaction: {method}")


@contextmanager
def watched(*, before: Callable[[str], None], after: Callable[[str], None]) -> Iterator[None]:
    """Have both called around each call to Google (`storage.batch`) and each `COMMIT`."""
    call = channels.call

    def around_call(method: str, send: Callable[[], Any]) -> Any:
        outside_transactions(method)
        before(method)
        answer = call(method, send)
        after(method)
        return answer

    with patch.object(channels, "call", around_call), _commits(before, after):
        yield


@contextmanager
def statements(*, before: Callable[[str], None], after: Callable[[str], None]) -> Iterator[None]:
    """Have `before` called before each statement of SQL, and `after` when one has taken effect for
    good: a COMMIT, or a statement outside a transaction."""

    def around(execute: Callable[..., Any], sql: str, *given: Any) -> Any:
        name = " ".join(sql.split()[:3])
        before(name)
        answer = execute(sql, *given)
        if not (connection.in_atomic_block or sql.startswith("SELECT")):
            after(name)
        return answer

    with connection.execute_wrapper(around), _commits(before, after):
        yield


@contextmanager
def _commits(before: Callable[[str], None], after: Callable[[str], None]) -> Iterator[None]:
    commit: Callable[[BaseDatabaseWrapper], None] = vars(BaseDatabaseWrapper)["_commit"]

    def around(self: BaseDatabaseWrapper) -> None:
        before("COMMIT")
        commit(self)
        after("COMMIT")

    with patch.object(BaseDatabaseWrapper, "_commit", around):
        yield
