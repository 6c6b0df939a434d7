"""Sweep: read each plane page by page into the mirror, then compare it with our tables."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import Error
from django.db.models import Count, Q
from django.utils.module_loading import import_string

from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.transport.channels import request_reason, shared_retry_budget
from ml_platform.conf import get_settings, require_settings
from ml_platform.models import RegisteredModel, Sweep
from ml_platform.models.database import write_connection
from ml_platform.models.endpoints.serving_truth import PLANES as SERVING_PLANES
from ml_platform.models.locking import update_rows
from ml_platform.models.states import SweepStatus
from ml_platform.services.findings.endings import close_unseen, reopen_expired
from ml_platform.services.findings.exclusions import LeftOut, Reading, count_left_out, tell_left_out
from ml_platform.services.findings.kinds import KINDS
from ml_platform.services.findings.store import write_findings
from ml_platform.services.installation.identity import Identity, identity
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Clock, Heartbeat, Json, lease_end

from .audit import unread_kinds
from .changed_versions import read_changed_versions
from .daily_counts import keep_daily_counts
from .listed import PLANES
from .mirrored import Plane, Unchanged, forget_unseen, keep_items

log = logging.getLogger("ml_platform.jobs")


def sweep(*, actor: Actor, clock: Clock, heartbeat: Heartbeat = lambda: None) -> Sweep:
    """Read all planes into the mirror, and update the findings.

    A plane with a page that failed is unknown: its mirror rows stay, and it is not compared,
    because a resource that it did not list may still exist (law 3). A row that cannot be stored is
    named and left out of the comparison.

    :raises Misconfigured: PROJECT_ID, LOCATION or BUCKET is missing; nothing was written.
    """
    require_settings()
    started = clock()
    # A sweep whose process was killed cannot mark itself.
    abandoned = Sweep.objects.abandoned(now=started)
    update_rows(abandoned, status=SweepStatus.INTERRUPTED, finished_at=started)
    current = Sweep.objects.create(
        actor_label=actor.label, started_at=started, lease_until=lease_end(started)
    )
    try:
        _read_and_compare(current, clock, heartbeat)
    except BaseException:
        _interrupt(current, clock)
        raise
    return current


def _read_and_compare(current: Sweep, clock: Clock, heartbeat: Heartbeat) -> None:
    left_out: dict[str, list[LeftOut]] = {}
    us = identity()
    with request_reason(f"sweep {current.pk}"), shared_retry_budget():
        for name in PLANES:
            left_out[name] = []
            current.planes[name] = _read_plane(name, us, current, clock, heartbeat, left_out[name])
        if current.planes["vertex"]["read"]:
            renew = partial(_renew_lease, current, clock, heartbeat)
            read_changed_versions(us=us, began=current.started_at, renew=renew)
    reading = Reading(
        sweep=current,
        now=clock(),
        unstored={name: {one.what for one in plane} for name, plane in left_out.items()},
        heartbeat=partial(_renew_lease, current, clock, heartbeat),
    )
    held = [*(one for plane in left_out.values() for one in plane), *compare(reading)]
    current.counts = _counts(current.planes) | tell_left_out(held)
    complete = all(plane["read"] for plane in current.planes.values())
    current.status = SweepStatus.COMPLETE if complete else SweepStatus.PARTIAL
    current.finished_at = clock()
    current.save()
    known = all(current.planes[plane]["read"] for plane in SERVING_PLANES)
    keep_daily_counts(now=current.finished_at, serving_known=known)


def compare(reading: Reading) -> list[LeftOut]:
    """Run each comparison whose plane was read, and close what none of them saw.

    Returns what could not be compared.
    """
    unread = unread_kinds(reading.sweep)
    kinds = [kind for kind in KINDS if kind not in unread]
    # Vertex AI and the files come before the services that serve them.
    places = [*PLANES, ""]
    kinds.sort(key=lambda kind: places.index(kind.facts.plane))
    # Cloud Run last: what serves is judged by what the others have said of its version.
    in_order = sorted(kinds, key=lambda kind: kind.facts.plane == "cloud_run")
    comparisons = dict.fromkeys(kind.facts.comparison for kind in in_order)
    held: list[LeftOut] = []
    for path in comparisons:
        for found, left_out in import_string(path)(reading):
            held += write_findings(reading=reading, found=found, left_out=left_out)
    closed = [kind for kind in kinds if kind.facts.closed_by_sweep]
    close_unseen(kinds=closed, sweep=reading.sweep, now=reading.now)
    reopen_expired(sweep=reading.sweep, now=reading.now)
    return held


# ---- the lease ---------------------------------------------------------------------------


def _renew_lease(current: Sweep, clock: Clock, heartbeat: Heartbeat) -> datetime:
    """Renew the lease when half of it has passed; returns the time."""
    heartbeat()
    now = clock()
    half = timedelta(seconds=get_settings().LEASE_SECONDS / 2)
    if current.lease_until is not None and current.lease_until > lease_end(now) - half:
        return now
    current.lease_until = lease_end(now)
    Sweep.objects.filter(pk=current.pk).update(
        lease_until=current.lease_until, status=SweepStatus.RUNNING, finished_at=None
    )
    return now


def _interrupt(current: Sweep, clock: Clock) -> None:
    """Mark the sweep as interrupted; if the connection is broken, try once with a new one."""
    mine = Sweep.objects.filter(pk=current.pk)
    for _ in range(2):
        try:
            mine.update(status=SweepStatus.INTERRUPTED, finished_at=clock())
        except Error as error:
            # The caller tells what ended the sweep; a database that is away is told in a sentence.
            words = " ".join(str(error).split())
            log.warning(
                "%s could not be marked as interrupted (%s); its lease will end.", current, words
            )
            connection = write_connection()
            if connection.in_atomic_block:
                return
            connection.close()
        else:
            return


# ---- the mirror ----------------------------------------------------------------------------------


def _read_plane(
    name: str,
    us: Identity,
    sweep: Sweep,
    clock: Clock,
    heartbeat: Heartbeat,
    left_out: list[LeftOut],
) -> Json:
    plane, unchanged = PLANES[name], Unchanged()
    had = plane.rows.count()
    answer = ask(lambda: _copy(plane, us, sweep, clock, heartbeat, left_out, unchanged))
    if not isinstance(answer, Present):
        code = getattr(answer, "code", "cloud_absent")
        return {"read": False, "reason": answer.reason, "code": code}
    read = {"read": True, "reason": "", "code": "", "pages": answer.value}
    unstored = {one.what for one in left_out}
    shrunk = forget_unseen(name, plane, sweep, unchanged, unstored=unstored, had=had)
    return read | count_left_out(left_out) | shrunk


def _copy(
    plane: Plane,
    us: Identity,
    sweep: Sweep,
    clock: Clock,
    heartbeat: Heartbeat,
    left_out: list[LeftOut],
    unchanged: Unchanged,
) -> int:
    """Write the plane's pages into the mirror, some together; returns their number."""
    pages = 0
    read: list[Any] = []

    def keep() -> None:
        same, unstored = keep_items(plane, read, sweep=sweep, now=now, us=us)
        unchanged.add(same)
        left_out.extend(unstored)
        plane.keep(read, sweep, now)
        read.clear()

    for page in plane.pages():
        pages += 1
        now = _renew_lease(sweep, clock, heartbeat)
        read += page
        if len(read) >= plane.together:
            keep()
    if read:
        keep()
    return pages


def _counts(planes: Mapping[str, Json]) -> Json:
    counted = {name: _count(plane) for name, plane in PLANES.items() if planes[name]["read"]}
    return {
        "rows": RegisteredModel.objects.count(),
        "registered": RegisteredModel.objects.registered().count(),
        **{name: counted[name]["ours"] if name in counted else None for name in PLANES},
        "theirs": {name: n["theirs"] for name, n in counted.items() if "theirs" in n},
    }


def _count(plane: Plane) -> dict[str, int]:
    """How many rows its mirror has: ours, and where labels tell it those of other installations."""
    if not hasattr(plane.table, "theirs"):
        return {"ours": plane.rows.count()}
    theirs = Count("pk", filter=Q(theirs=True))
    found: dict[str, int] = plane.rows.aggregate(ours=Count("pk") - theirs, theirs=theirs)
    return found
