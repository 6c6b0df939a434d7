"""What keeps an object from deletion and overwriting: holds, a bucket's retention, its own.

Pure decisions, after cloud.google.com/storage/docs/object-holds, /bucket-lock and /object-lock.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ...server.http_types import HttpError
from ..tables.store import StoredObject, stamp
from ..tables.versions import versioned
from . import rules

_MAX_SECONDS = 3_155_760_000
_MODES = ("Unlocked", "Locked")
# When an event-based hold ended: the retention of the bucket counts from there.
_RELEASED = "_released"
Fields = dict[str, Any]


def check_replaceable(found: StoredObject | None, bucket: Fields, now: datetime) -> None:
    """Raise HTTP 403 for a live object that can be neither overwritten nor deleted.

    Under versioning it becomes noncurrent, which a hold forbids and retention allows.
    """
    if found is not None:
        check_hold(found)
        if not versioned(bucket):
            check_retention(found, bucket, now)


def check_deletable(found: StoredObject, bucket: Fields, now: datetime) -> None:
    """Raise HTTP 403 for a version that cannot be deleted for good."""
    check_hold(found)
    check_retention(found, bucket, now)


def check_hold(found: StoredObject) -> None:
    """Raise HTTP 403 for a version under a hold; its metadata can be changed."""
    for key, kind in (("temporaryHold", "Temporary"), ("eventBasedHold", "Event-Based")):
        if found.settable.get(key):
            raise HttpError(
                403,
                "objectUnderActiveHold",
                f"Object '{found.bucket}/{found.name}' is under active {kind} hold and cannot be "
                "deleted, overwritten or archived until hold is removed.",
            )


def check_retention(found: StoredObject, bucket: Fields, now: datetime) -> None:
    """Raise HTTP 403 before the end of the retention, in the words of dataflow/docs/guides/\
common-errors and GoogleCloudPlatform's recorded answers."""
    end = retained_until(found, bucket)
    if end and now < datetime.fromisoformat(end):
        raise HttpError(
            403,
            "retentionPolicyNotMet",
            f"Object '{found.bucket}/{found.name}' is subject to bucket's retention policy or "
            f"object retention and cannot be deleted or overwritten until {end}",
        )


def retained_until(item: StoredObject, bucket: Fields) -> str:
    """`retentionExpirationTime`: '' where there is none, or an event-based hold leaves it open."""
    if item.settable.get("eventBasedHold"):
        return ""
    ends = []
    if "retentionPolicy" in bucket:
        since = datetime.fromisoformat(item.settable.get(_RELEASED, item.created))
        seconds = int(bucket["retentionPolicy"]["retentionPeriod"])
        ends.append(since + timedelta(seconds=seconds))
    if "retention" in item.settable:
        ends.append(datetime.fromisoformat(item.settable["retention"]["retainUntilTime"]))
    return stamp(max(ends)) if ends else ""


def resource_of(item: StoredObject, base_url: str, bucket: Fields, key: str = "") -> Fields:
    """The JSON of an object with the times of its protection and of its end."""
    shown = rules.resource_of(item, base_url, key)
    shown.pop(_RELEASED, None)
    times = {
        "retentionExpirationTime": retained_until(item, bucket),
        "timeDeleted": item.noncurrent_since,
        "softDeleteTime": item.soft_deleted,
        "hardDeleteTime": item.hard_delete,
    }
    return shown | {name: time for name, time in times.items() if time}


def of_new(wanted: Fields, bucket: Fields, now: datetime) -> Fields:
    """The settable fields of a new object. Raises HTTP 400."""
    fresh = rules.settable(wanted)
    if bucket.get("defaultEventBasedHold"):
        fresh.setdefault("eventBasedHold", True)
    return _one_kind(_checked(fresh, bucket, now))


def copied(source: Fields) -> Fields:
    """What a copy takes over from its source: no hold, no retention, the class of its bucket."""
    own = ("temporaryHold", "eventBasedHold", "retention", "storageClass", _RELEASED)
    return {name: value for name, value in source.items() if name not in own}


def of_changed(
    before: Fields, wanted: Fields, bucket: Fields, now: datetime, *, override: bool
) -> Fields:
    """The settable fields after a patch or an update; `override` is `overrideUnlockedRetention`.

    Raises HTTP 400, or 403 where the retention would become weaker.
    """
    fresh = rules.settable(wanted)
    if _RELEASED in before:
        fresh[_RELEASED] = before[_RELEASED]
    if before.get("eventBasedHold") and not fresh.get("eventBasedHold"):
        fresh[_RELEASED] = stamp(now)
    if before.get("retention") != fresh.get("retention"):
        fresh = _checked(fresh, bucket, now)
        _check_not_weaker(before.get("retention"), fresh.get("retention"), override=override)
    return _one_kind(fresh)


def _checked(fresh: Fields, bucket: Fields, now: datetime) -> Fields:
    wanted = fresh.pop("retention", None)
    if not wanted or set(wanted.values()) == {None}:
        return fresh
    if bucket.get("objectRetention", {}).get("mode") != "Enabled":
        raise rules.bad("Object Retention is not enabled on this bucket.")
    if wanted.get("mode") not in _MODES:
        raise rules.bad("Invalid argument: retention.mode must be Unlocked or Locked.")
    until = _time(wanted.get("retainUntilTime"))
    if not now < until <= now + timedelta(seconds=_MAX_SECONDS):
        raise rules.bad(
            "Invalid argument: retention.retainUntilTime must be in the future, by at most 100 "
            "years."
        )
    return fresh | {"retention": {"mode": wanted["mode"], "retainUntilTime": stamp(until)}}


def _one_kind(fresh: Fields) -> Fields:
    if fresh.get("eventBasedHold") and "retention" in fresh:
        raise rules.bad("An object cannot have an event-based hold and a retention configuration.")
    return fresh


def _check_not_weaker(old: Fields | None, new: Fields | None, *, override: bool) -> None:
    if old is None:
        return
    # Stamps of one format: the order of texts is the order of times.
    weaker = new is None or new["retainUntilTime"] < old["retainUntilTime"]
    changed = new is not None and new["mode"] != old["mode"]
    if old["mode"] == "Locked" and (weaker or changed):
        raise HttpError(
            403, "forbidden", "A Locked retention configuration cannot be reduced or removed."
        )
    if (weaker or changed) and not override:
        raise HttpError(
            403,
            "forbidden",
            "An Unlocked retention configuration is removed, reduced or locked only with "
            "overrideUnlockedRetention.",
        )


def _time(text: object) -> datetime:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise rules.bad(f"Invalid argument: {text!r} is not a time.") from error
    if when.tzinfo is None:
        raise rules.bad(f"Invalid argument: {text!r} has no time zone.")
    return when
