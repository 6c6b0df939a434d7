"""The verbs: the only place where what we remember and the cloud meet."""

from __future__ import annotations

from django.db import connection

from ml_platform.cloud.transport.channels import before_call


def refuse_inside_transaction(method: str) -> None:
    """No remote call runs inside a database transaction (law 6).

    :raises RuntimeError: one is open.
    """
    if connection.in_atomic_block:
        raise RuntimeError(f"{method} was called inside a database transaction.")


before_call.append(refuse_inside_transaction)
