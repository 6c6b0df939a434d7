"""A database failure that may pass is treated as the death of the worker.

Nothing more is written; whoever claims the operation when its lease is over looks before they
go on.
"""

from __future__ import annotations

import logging
import uuid

from django.db import connection

log = logging.getLogger("ml_platform.operations")


def drop_connection() -> None:
    """Close a connection that may be broken, so that the next use opens another."""
    if not connection.in_atomic_block:
        connection.close()


def leave(operation_id: uuid.UUID, error: Exception) -> None:
    """Leave an operation as it is when the database has failed, and say so in the log."""
    drop_connection()
    log.warning(
        "The database failed under operation %s: %s. Nothing more was written; "
        "what is left of it goes on once it is due.",
        operation_id,
        " ".join(str(error).split()) or type(error).__name__,
    )
