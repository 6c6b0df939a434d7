"""A bucket's lifecycle rules: each midnight (UTC) of the Clock, the objects that are due go.

After cloud.google.com/storage/docs/lifecycle, which promises no hour. A rule never deletes what a
hold or a retention keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from ...core.core import Core
from ...core.errors import CloudError
from ..checks import protection, rules, unserved
from ..tables.store import StoredObject
from ..tables.versions import VersionedTables, version_key

_CHUNK = 500
_TIMER = "gcs-lifecycle"


class Candidate(NamedTuple):
    """One version, how many newer ones there are, and the time."""

    item: StoredObject
    newer: int
    now: datetime

    def days_since(self, time: str) -> float:
        """Days since a time of the version; -inf for one that it does not have."""
        return (self.now - _parse(time)) / timedelta(days=1) if time else float("-inf")

    @property
    def custom_time(self) -> str:
        """When the client says that it was, or ''."""
        return str(self.item.settable.get("customTime", ""))


def _before(time: str, date: str) -> bool:
    return bool(time) and _parse(time) < _parse(date)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("a list was expected.")
    return tuple(str(one) for one in value)


_CONDITIONS: dict[str, Callable[[Candidate, Any], bool]] = {
    "age": lambda one, days: one.days_since(one.item.created) >= int(days),
    "createdBefore": lambda one, date: _before(one.item.created, date),
    "customTimeBefore": lambda one, date: _before(one.custom_time, date),
    "daysSinceCustomTime": lambda one, days: one.days_since(one.custom_time) >= int(days),
    "daysSinceNoncurrentTime": lambda one, days: (
        one.days_since(one.item.noncurrent_since) >= int(days)
    ),
    "isLive": lambda one, live: live != bool(one.item.noncurrent_since),
    "matchesPrefix": lambda one, parts: one.item.name.startswith(_texts(parts)),
    "matchesStorageClass": lambda one, classes: (
        one.item.settable.get("storageClass", "STANDARD") in _texts(classes)
    ),
    "matchesSuffix": lambda one, parts: one.item.name.endswith(_texts(parts)),
    "noncurrentTimeBefore": lambda one, date: _before(one.item.noncurrent_since, date),
    "numNewerVersions": lambda one, count: one.newer >= int(count),
}


_TIME = "2000-01-01T00:00:00Z"
_PROBE = Candidate(
    StoredObject("", "", 1, 1, 0, _TIME, _TIME, "", "", {"customTime": _TIME}, _TIME),
    0,
    datetime(2000, 1, 1, tzinfo=UTC),
)


def check(bucket: dict[str, Any]) -> None:
    """Raise HTTP 400 for a rule that is none, 501 for an action that is not honoured.

    AbortIncompleteMultipartUpload has nothing to do: the local cloud has no such uploads.
    """
    for rule in rules_of(bucket):
        action, condition = rule.get("action", {}).get("type"), rule.get("condition")
        if action not in ("Delete", "AbortIncompleteMultipartUpload"):
            raise unserved.refused(f"the lifecycle action {action}")
        if not condition or set(condition) - set(_CONDITIONS):
            raise rules.bad("Invalid argument: a lifecycle rule needs conditions that exist.")
        for name, value in condition.items():
            try:
                _CONDITIONS[name](_PROBE, value)
            except (TypeError, ValueError) as error:
                raise rules.bad(f"Invalid argument: lifecycle {name}: {error}") from error


def rules_of(bucket: dict[str, Any]) -> list[dict[str, Any]]:
    """The lifecycle rules of a bucket."""
    found: list[dict[str, Any]] = bucket.get("lifecycle", {}).get("rule") or []
    return found


def is_due(condition: dict[str, Any], one: Candidate) -> bool:
    """Whether a version meets every condition."""
    return all(_CONDITIONS[name](one, value) for name, value in condition.items())


class Lifecycle:
    """Has a timer only while a bucket has rules."""

    def __init__(self, tables: VersionedTables, core: Core) -> None:
        self._tables = tables
        self._clock = core.clock
        self._effects = core.effects
        self._lock = core.lock

    def rearm(self) -> None:
        """Set the timer for the buckets of a state file."""
        if any(rules_of(bucket) for bucket in self._buckets()):
            self._arm()

    def arm(self, bucket: dict[str, Any]) -> None:
        """Set the timer if this bucket has rules."""
        if rules_of(bucket):
            self._arm()

    def _arm(self) -> None:
        today = self._clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        self._clock.call_at(today + timedelta(days=1), _TIMER, self._run)

    def _run(self) -> None:
        with self._lock, self._tables.transaction():
            for bucket in self._buckets():
                deletions = [r["condition"] for r in rules_of(bucket) if _deletes(r)]
                for item in self._due(bucket["name"], deletions) if deletions else ():
                    self._delete(item, bucket)
            self.rearm()

    def _buckets(self) -> Iterator[dict[str, Any]]:
        start = ""
        while found := self._tables.buckets("", start, _CHUNK):
            yield from found
            start = found[-1]["name"] + "\0"

    def _due(self, bucket: str, conditions: list[dict[str, Any]]) -> list[StoredObject]:
        now, due = self._clock.now(), []
        for _, versions in groupby(self._versions(bucket), key=lambda item: item.name):
            # The oldest comes first.
            for newer, item in enumerate(reversed(list(versions))):
                if any(is_due(condition, Candidate(item, newer, now)) for condition in conditions):
                    due.append(item)
        return due

    def _versions(self, bucket: str) -> Iterator[StoredObject]:
        start = ""
        while found := self._tables.scan_versions(bucket, start, "", _CHUNK):
            yield from found
            start = version_key(found[-1]) + "\0"

    def _delete(self, item: StoredObject, bucket: dict[str, Any]) -> None:
        live = not item.noncurrent_since
        check = protection.check_replaceable if live else protection.check_deletable
        try:
            check(item, bucket, self._clock.now())
        except CloudError:
            return
        if live:
            self._tables.delete(item.bucket, item.name)
        else:
            self._tables.remove(item)
        detail = {"bucket": item.bucket, "name": item.name, "generation": item.generation}
        self._effects.record(f"{item.bucket}/{item.name}", detail=detail)


def _deletes(rule: dict[str, Any]) -> bool:
    return bool(rule["action"]["type"] == "Delete")


def _parse(time: str) -> datetime:
    """A time or a date, which is its midnight."""
    when = datetime.fromisoformat(time)
    return when if when.tzinfo else when.replace(tzinfo=UTC)
