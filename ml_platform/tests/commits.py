"""Commits inside the transaction of a Django test case.

A test with plain `django_db` runs inside one transaction, which is rolled back. The end of the
product's outermost block is there only the release of a savepoint. This has it do what else a
commit does: check the deferred foreign keys, and run what waited for the commit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic, get_connection


def imitate_commits(patch: pytest.MonkeyPatch) -> None:
    """Treat the end of an outermost block inside a test case's as a commit.

    Outside a test case nothing changes, as in tests with `transaction=True`.
    """
    leave, release = Atomic.__exit__, BaseDatabaseWrapper.savepoint_commit
    on_commit = BaseDatabaseWrapper.on_commit

    def leave_and_call(block: Atomic, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        leave(block, exc_type, exc_value, traceback)
        connection = get_connection(block.using)
        if _stands_in_test_case(connection):
            waiting, connection.run_on_commit = connection.run_on_commit, []
            for _, call, _ in waiting:
                call()

    def check_and_release(connection: BaseDatabaseWrapper, sid: str) -> None:
        if _stands_in_test_case(connection):
            connection.check_constraints()
        release(connection, sid)

    def call_at_once(
        connection: BaseDatabaseWrapper, call: Callable[[], object], *options: Any, **named: Any
    ) -> None:
        if _stands_in_test_case(connection):
            call()
        else:
            on_commit(connection, call, *options, **named)

    patch.setattr(Atomic, "__exit__", leave_and_call)
    patch.setattr(BaseDatabaseWrapper, "savepoint_commit", check_and_release)
    patch.setattr(BaseDatabaseWrapper, "on_commit", call_at_once)


def _stands_in_test_case(connection: BaseDatabaseWrapper) -> bool:
    """Whether no block is open but the test case's own."""
    blocks = connection.atomic_blocks
    return bool(blocks) and getattr(blocks[-1], "_from_testcase", False)
