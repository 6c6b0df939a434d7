"""The marker: an object below the artifacts root that says which database may delete there.

It holds our uid and a nonce. Before a write, the next nonce is committed here; after it, it is the
nonce. So this database always knows what the object may hold, and a copy of it, a restored backup
or another installation does not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from django.utils.dateparse import parse_datetime

from ml_platform.cloud import storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.conf import get_settings, require_settings
from ml_platform.errors import (
    CloudAbsent,
    CloudConflict,
    CloudRejected,
    CloudUnavailable,
    Conflict,
    PlatformError,
)
from ml_platform.models import Installation
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_row
from ml_platform.services.operations.work import Clock, Heartbeat

from .identity import current

NAME = ".ml-platform-installation.json"
LIMIT = 10_000
RENEW_AFTER = timedelta(minutes=1)
"""Destructive work replaces a marker older than this: Cloud Storage takes one write of an object a
second (https://cloud.google.com/storage/quotas), and a long deletion asks for each chunk."""
DAILY = timedelta(days=1)
TRIES = 3
"""How often another process of ours may write between our reads."""


class InstallationUnconfirmed(Conflict):
    """The marker is not the one that this database wrote last: nothing is deleted at Google."""

    code = "installation_unconfirmed"
    advice = (
        "If this database is the one that owns these models, an administrator confirms it: "
        "`manage.py confirm_installation`, or the button on Registry health. A copy of a database "
        "gets a bucket or an ARTIFACTS_PREFIX of its own."
    )


class MarkerUnknown(CloudUnavailable):
    """The marker could not be read, or it is missing where we wrote one."""

    code = "marker_unknown"
    advice = (
        "Nothing is deleted until it can be read. If it was deleted, an administrator confirms "
        "this installation: `manage.py confirm_installation`, or the button on Registry health."
    )


@dataclass(frozen=True, slots=True)
class Marker:
    """What the marker object holds; a `generation` of 0 means that there is none."""

    generation: int = 0
    uid: str = ""
    nonce: str = ""
    name: str = ""
    written_at: datetime | None = None

    def __str__(self) -> str:
        if not self.generation:
            return "no marker"
        when = f", written {self.written_at:%Y-%m-%d %H:%M} UTC" if self.written_at else ""
        return f"the marker of installation {self.uid} ({self.name}){when}"


def place() -> ObjectPath:
    """The marker's place."""
    settings = require_settings()
    return ObjectPath(settings.BUCKET, f"{settings.ARTIFACTS_PREFIX}/{NAME}")


def require_ours(*, clock: Clock) -> None:
    """Check right before destructive work that this database owns what it is about to delete.

    The marker is replaced first, so that a copy of this database is found out. A bucket in which
    this database never wrote a marker is claimed.

    :raises InstallationUnconfirmed: the marker is another's, or of another time of this database.
    :raises MarkerUnknown: it could not be read or replaced, or it is missing.
    """
    _check(clock, older_than=RENEW_AFTER)


def renew_marker(*, clock: Clock, heartbeat: Heartbeat = lambda: None) -> None:
    """Check the marker, and replace it once a day; errors as with `require_ours`."""
    _check(clock, older_than=DAILY, heartbeat=heartbeat)


def require_not_stopped() -> None:
    """Check, without a call to Google, that no marker of another has stopped this installation.

    :raises InstallationUnconfirmed: one has.
    """
    if reason := Installation.objects.exclude(stopped_at=None).values_list(
        "stopped_reason", flat=True
    ):
        raise InstallationUnconfirmed(reason[0])


def read_marker() -> Marker:
    """Read the marker.

    :raises MarkerUnknown: no answer, or one that is not a marker.
    """
    path = place()
    try:
        text, generation = storage.read_generation(path.bucket, path.key, limit_bytes=LIMIT)
    except CloudAbsent:
        return Marker()
    except (CloudUnavailable, CloudRejected) as error:
        raise _unknown(error) from error
    try:
        said = json.loads(text)
        return Marker(
            generation,
            str(said["uid"]),
            str(said["nonce"]),
            str(said.get("name", "")),
            parse_datetime(str(said.get("written_at", ""))),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MarkerUnknown(f"{path} is not a marker: {text[:80]!r}.") from error


def write_marker(found: Marker, *, clock: Clock) -> None:
    """Replace the marker that was found, if it is still there, by one with our next nonce.

    :raises CloudConflict: another process has replaced it since.
    :raises MarkerUnknown: it could not be written; it may have been.
    """
    path, row, now = place(), _next_nonce(), clock()
    said = {
        "uid": row.uid.hex,
        "nonce": row.next_nonce,
        "name": get_settings().INSTALLATION,
        "written_at": now.isoformat(),
    }
    try:
        storage.write_text(
            path.bucket,
            path.key,
            json.dumps(said),
            content_type="application/json",
            generation=found.generation,
        )
    except CloudConflict:
        raise
    except (CloudUnavailable, CloudRejected) as error:
        raise _unknown(error) from error
    _seen(row.next_nonce, now)


def _check(clock: Clock, *, older_than: timedelta, heartbeat: Heartbeat = lambda: None) -> None:
    for _ in range(TRIES):
        require_not_stopped()
        before = current()
        heartbeat()
        found = read_marker()
        heartbeat()
        if _is_claimable(before, found) or _is_ours(before, found):
            if found.generation and _is_fresh(before, found, clock(), older_than):
                _is_back(before)
                return
            try:
                write_marker(found, clock=clock)
            except CloudConflict:
                continue  # another process, whose nonce is in the row by now
            return
        if before.nonce == current().nonce and before.next_nonce == current().next_nonce:
            _stop(found, clock())
    raise MarkerUnknown(f"{place()} was replaced {TRIES} times while it was read.")


def _is_claimable(row: Installation, found: Marker) -> bool:
    """Whether there is no marker, in a place where we wrote none.

    :raises MarkerUnknown: we wrote one there.
    """
    if found.generation:
        return False
    if row.marker == str(place()):
        reason = f"{place()} is missing, which this installation wrote."
        Installation.objects.filter(pk=1, stopped_at=None).update(stopped_reason=reason)
        raise MarkerUnknown(reason)
    return True


def _is_ours(row: Installation, found: Marker) -> bool:
    return found.uid == row.uid.hex and found.nonce in {row.nonce, row.next_nonce} - {""}


def _is_fresh(row: Installation, found: Marker, now: datetime, older_than: timedelta) -> bool:
    known = row.marker == str(place()) and found.nonce == row.nonce
    return bool(known and row.written_at and abs(now - row.written_at) < older_than)


def _next_nonce() -> Installation:
    """Commit the nonce of the next write. Processes that write at the same time share it, so that
    whichever write takes effect is known."""
    current()
    with atomic():
        row = lock_row(Installation.objects.filter(pk=1))
        if not row.next_nonce:
            row.next_nonce = uuid4().hex
            row.save(update_fields=["next_nonce"])
    return row


def _seen(nonce: str, now: datetime) -> None:
    """Record that the marker holds the next nonce, unless another process has."""
    Installation.objects.filter(pk=1, next_nonce=nonce).update(
        nonce=nonce, next_nonce="", marker=str(place()), written_at=now
    )
    _is_back(current())


def _is_back(row: Installation) -> None:
    """Record that a marker which was missing is there."""
    if row.stopped_reason:
        Installation.objects.filter(pk=1, stopped_at=None).update(stopped_reason="")


def _stop(found: Marker, now: datetime) -> None:
    """Record why nothing is deleted until a person has confirmed this installation."""
    reason = f"{place()} holds {found}, which this database did not write."
    Installation.objects.filter(pk=1, stopped_at=None).update(stopped_at=now, stopped_reason=reason)
    raise InstallationUnconfirmed(reason)


def _unknown(error: PlatformError) -> MarkerUnknown:
    return MarkerUnknown(f"{place()} could not be read or replaced: {error}")
