"""The services: the only place where our database and the cloud meet."""

from __future__ import annotations

from ml_platform.cloud.transport.channels import before_call
from ml_platform.models.database import write_connection


def refuse_inside_transaction(method: str) -> None:
    """Refuse a call to Google inside a database transaction, which would hold locks while it waits.

    As for Django's `atomic(durable=True)`, the block that a Django test case opens around a test
    does not count.

    :raises RuntimeError: a transaction is open.
    """
    blocks = write_connection().atomic_blocks
    if blocks and not getattr(blocks[-1], "_from_testcase", False):  # as `durable=True` reads it
        raise RuntimeError(f"{method} was called inside a database transaction.")


before_call.append(refuse_inside_transaction)
