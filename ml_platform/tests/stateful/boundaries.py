"""Every place where a process may die: around each call to Google and around each COMMIT."""

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
    commit: Callable[[BaseDatabaseWrapper], None] = vars(BaseDatabaseWrapper)["_commit"]

    def around_call(method: str, send: Callable[[], Any]) -> Any:
        outside_transactions(method)
        before(method)
        answer = call(method, send)
        after(method)
        return answer

    def around_commit(self: BaseDatabaseWrapper) -> None:
        before("COMMIT")
        commit(self)
        after("COMMIT")

    with (
        patch.object(channels, "call", around_call),
        patch.object(BaseDatabaseWrapper, "_commit", around_commit),
    ):
        yield
