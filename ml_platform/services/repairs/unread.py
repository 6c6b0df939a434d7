"""The error of a repair that could not read what it must know."""

from __future__ import annotations

from ml_platform.cloud.answers import Absent, Unknown
from ml_platform.errors import CloudUnavailable, PlatformError


def unread(answer: Absent | Unknown, *, service: str, sent: bool = False) -> PlatformError:
    """Return the error to raise for an answer that proves nothing.

    `sent` says whether a change may have been sent. Then the operation must go on until it knows
    the outcome, so the error is temporary; before that it ends, with nothing changed.
    """
    if sent:
        return CloudUnavailable(answer.reason, code=getattr(answer, "code", "cloud_unavailable"))
    return PlatformError(
        answer.reason,
        code="cloud_unavailable",
        advice=f"Nothing was changed. Repair again when {service} answers.",
    )
