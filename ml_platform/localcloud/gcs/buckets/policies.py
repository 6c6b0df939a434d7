"""A bucket's settings that protect its objects.

Pure decisions, after cloud.google.com/storage/docs/json_api/v1/buckets, /bucket-lock and
/soft-delete.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ...server.http_types import HttpError
from ..checks import rules
from ..tables.store import stamp
from . import lifecycle

_DAY = 86_400
_SOFT_DELETE = {"retentionDurationSeconds": str(7 * _DAY)}
_MAX_SECONDS = 3_155_760_000
Fields = dict[str, Any]


def settled(before: Fields, wanted: Fields, now: datetime) -> Fields:
    """A bucket as it is stored, from what it was ({} = new) and what it is to be.

    Raises HTTP 400 for an invalid setting, 403 where a lock forbids it, 501 for one that the
    local cloud would not honour.
    """
    lifecycle.check(wanted)
    fresh = dict(wanted)
    for name, settle in (("softDeletePolicy", _soft_delete), ("retentionPolicy", _retention)):
        policy = settle(before.get(name), wanted.get(name), wanted["name"], stamp(now))
        fresh.pop(name, None)
        if policy is not None:
            fresh[name] = policy
    return fresh


def locked(bucket: Fields) -> Fields:
    """The bucket with its retention policy locked, for ever. Raises HTTP 400 without a policy."""
    if "retentionPolicy" not in bucket:
        raise rules.bad(f"Bucket '{bucket['name']}' does not have an unlocked Retention Policy.")
    return bucket | {"retentionPolicy": bucket["retentionPolicy"] | {"isLocked": True}}


def _soft_delete(old: Fields | None, new: Fields | None, name: str, now: str) -> Fields:
    del name
    new = new if new is not None else old or _SOFT_DELETE
    seconds = _seconds(new, "retentionDurationSeconds", "softDeletePolicy")
    if seconds and not 7 * _DAY <= seconds <= 90 * _DAY:
        raise rules.bad(
            "Soft delete policy retention duration must be 0 or between 7 days and 90 days."
        )
    if seconds == 0:
        return {"retentionDurationSeconds": "0"}
    unchanged = old is not None and old["retentionDurationSeconds"] == str(seconds)
    effective = old["effectiveTime"] if old is not None and unchanged else now
    return {"retentionDurationSeconds": str(seconds), "effectiveTime": effective}


def _retention(old: Fields | None, new: Fields | None, name: str, now: str) -> Fields | None:
    locked = bool(old and old.get("isLocked"))
    new = new if new and new.get("retentionPeriod") is not None else None
    seconds = _seconds(new, "retentionPeriod", "retentionPolicy") if new else 0
    if new and not 0 < seconds <= _MAX_SECONDS:
        raise rules.bad("Retention period must be greater than 0 and at most 3155760000 seconds.")
    if old is not None and locked and seconds < int(old["retentionPeriod"]):
        message = (
            f"Cannot reduce retention duration of a locked Retention Policy for bucket '{name}'."
            if seconds
            else f"Bucket '{name}' has a locked Retention Policy which cannot be removed."
        )
        raise HttpError(403, "retentionPolicyNotMet", message)
    if seconds == 0:
        return None
    if old is not None and old["retentionPeriod"] == str(seconds):
        return old
    fresh: Fields = {"retentionPeriod": str(seconds), "effectiveTime": now}
    return fresh | ({"isLocked": True} if locked else {})


def _seconds(policy: Fields, key: str, name: str) -> int:
    try:
        seconds = int(policy.get(key) or 0)
    except (TypeError, ValueError) as error:
        raise rules.bad(f"Invalid argument: {name}.{key}.") from error
    if seconds < 0:
        raise rules.bad(f"Invalid argument: {name}.{key} must not be negative.")
    return seconds
