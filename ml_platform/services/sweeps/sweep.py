"""The sweep: read each plane page by page into the mirror, then compare it with our tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import Error, connection
from django.db.models import Model, Q
from django.utils.module_loading import import_string

from ml_platform.cloud import cloud_run, storage, vertex
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.transport.channels import request_reason, shared_retry_budget
from ml_platform.cloud.types import RemoteModel, RemoteObject, RemoteService
from ml_platform.conf import get_settings, require_settings
from ml_platform.errors import Invalid
from ml_platform.models import (
    MirroredArtifacts,
    MirroredModel,
    MirroredService,
    RegisteredModel,
    Sweep,
)
from ml_platform.models.locking import delete_rows, update_rows
from ml_platform.models.states import SweepStatus
from ml_platform.services.findings.exclusions import LeftOut, Reading, count_left_out, tell_left_out
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.row_by_row import write_each
from ml_platform.services.findings.store import close_unseen
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Clock, Heartbeat, Json, lease_end
from ml_platform.services.registry.labels import ENDPOINT, OWNER, RUN

from .audit import unread_kinds

log = logging.getLogger("ml_platform.jobs")
PUSHED = "pushed_model/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """How a plane is read: its pages, and the mirror row that each thing on one becomes.

    `name` is its key there. `row`, the other columns, raises Invalid for what nothing can point at.
    """

    pages: Callable[[], Iterator[Sequence[Any]]]
    name: Callable[[Any], str]
    row: Callable[[Any], Json]
    table: type[Model]
    key: str


def sweep(*, actor: Actor, clock: Clock, heartbeat: Heartbeat = lambda: None) -> Sweep:
    """Read all planes, keep what they said, and bring the findings up to date.

    A plane of which a page failed is unknown: its mirror rows stay, and nothing is concluded
    from it (law 3). A row that cannot be stored is left out and named; nothing is concluded of it.

    :raises Misconfigured: PROJECT_ID, LOCATION or BUCKET is missing; nothing was written.
    """
    require_settings()
    started = clock()
    _end_abandoned(started)
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
    with request_reason(f"sweep {current.pk}"), shared_retry_budget():
        for name, plane in PLANES.items():
            left_out[name] = []
            current.planes[name] = _read_plane(plane, current, clock, heartbeat, left_out[name])
    reading = Reading(
        sweep=current,
        now=clock(),
        unstored={name: {one.what for one in plane} for name, plane in left_out.items()},
        heartbeat=partial(_live_on, current, clock, heartbeat),
    )
    held = [*(one for plane in left_out.values() for one in plane), *compare(reading)]
    current.counts = _counts(current.planes) | tell_left_out(held)
    complete = all(plane["read"] for plane in current.planes.values())
    current.status = SweepStatus.COMPLETE if complete else SweepStatus.PARTIAL
    current.finished_at = clock()
    current.save()


def compare(reading: Reading) -> list[LeftOut]:
    """Run each comparison whose plane was read, and close what none of them saw.

    Returns what could not be compared.
    """
    unread = unread_kinds(reading.sweep)
    kinds = [kind for kind in FindingKind if kind not in unread]
    comparisons = dict.fromkeys(kind.facts.comparison for kind in kinds)
    held = [left_out for path in comparisons for left_out in import_string(path)(reading)]
    closed = [kind for kind in kinds if kind.facts.closed_by_sweep]
    close_unseen(kinds=closed, sweep=reading.sweep, now=reading.now)
    return held


# ---- how long it lives ---------------------------------------------------------------------------


def _end_abandoned(now: datetime) -> None:
    """A sweep whose process was killed never says so itself."""
    update_rows(Sweep.objects.abandoned(now=now), status=SweepStatus.INTERRUPTED, finished_at=now)


def _live_on(current: Sweep, clock: Clock, heartbeat: Heartbeat) -> datetime:
    """Renew the lease once half of it is gone; one that was taken for dead runs again. Returns the
    time."""
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
    """Say that it ends here. Its connection may be what broke, so a new one is tried, once."""
    mine = Sweep.objects.filter(pk=current.pk)
    for _ in range(2):
        try:
            mine.update(status=SweepStatus.INTERRUPTED, finished_at=clock())
        except Error:
            log.exception("%s could not say that it ended; it will once its lease is over", current)
            if connection.in_atomic_block:
                return
            connection.close()
        else:
            return


# ---- the mirror ----------------------------------------------------------------------------------


def _read_plane(
    plane: Plane, sweep: Sweep, clock: Clock, heartbeat: Heartbeat, left_out: list[LeftOut]
) -> Json:
    answer = ask(lambda: _copy(plane, sweep, clock, heartbeat, left_out))
    if not isinstance(answer, Present):
        code = getattr(answer, "code", "cloud_absent")
        return {"read": False, "reason": answer.reason, "code": code}
    _forget_unseen(plane, sweep, {one.what for one in left_out})
    return {
        "read": True,
        "reason": "",
        "code": "",
        "pages": answer.value,
        **count_left_out(left_out),
    }


def _copy(
    plane: Plane, sweep: Sweep, clock: Clock, heartbeat: Heartbeat, left_out: list[LeftOut]
) -> int:
    """Write the plane's pages into the mirror, one at a time; returns how many there were."""
    pages = 0
    for page in plane.pages():
        now = _live_on(sweep, clock, heartbeat)
        pages += 1
        left_out += _keep_page(plane, page, {"seen_sweep": sweep, "seen_at": now})
    return pages


def _keep_page(plane: Plane, page: Sequence[Any], seen: Json) -> list[LeftOut]:
    """Write a page into the mirror; returns what of it cannot be stored."""
    left_out: list[LeftOut] = []
    # Keyed, because one statement may not upsert the same row twice; in the keys' order,
    # because two sweeps that lock rows in different orders would stop each other.
    keyed: dict[str, Json] = {}
    for found in page:
        name = plane.name(found)
        try:
            keyed[name] = {plane.key: name, **plane.row(found), **seen}
        except Invalid as error:
            left_out.append(LeftOut(name, str(error), None))
    rows = [keyed[key] for key in sorted(keyed)]
    unstored = write_each(rows, partial(_upsert, plane))
    return [*left_out, *(LeftOut(row[plane.key], why, None) for row, why in unstored)]


def _upsert(plane: Plane, rows: Sequence[Json]) -> None:
    columns = [
        field.name
        for field in plane.table._meta.concrete_fields  # noqa: SLF001 - Django's documented name
        if field.name not in ("id", plane.key)
    ]
    plane.table._default_manager.bulk_create(  # noqa: SLF001 - Django's documented name
        [plane.table(**row) for row in rows],
        update_conflicts=True,
        unique_fields=[plane.key],
        update_fields=columns,
    )


def _forget_unseen(plane: Plane, sweep: Sweep, unstored: Collection[str]) -> None:
    """Drop what this complete reading did not show, unless a sweep beside it saw it meanwhile, or
    sees it just now. What was shown but could not be stored is still there."""
    seen = Q(seen_sweep__gte=sweep.pk) | Q(seen_at__gt=sweep.started_at)
    unseen = plane.table._default_manager.exclude(seen)  # noqa: SLF001 - Django's documented name
    if unstored:
        keys = unseen.values_list("pk", plane.key).iterator()
        unseen = unseen.exclude(pk__in=[pk for pk, key in keys if key in unstored])
    delete_rows(unseen)


def _counts(planes: Mapping[str, Json]) -> Json:
    remote = {
        name: plane.table._default_manager.count() if planes[name]["read"] else None  # noqa: SLF001
        for name, plane in PLANES.items()
    }
    return {
        "rows": RegisteredModel.objects.count(),
        "registered": RegisteredModel.objects.registered().count(),
        **remote,
    }


# ---- the planes --------------------------------------------------------------------------------


def _model_row(model: RemoteModel) -> Json:
    return {
        "resource_name": str(model.pointer.bare),  # with its version it must be a name, too
        "display_name": model.display_name,
        "version": model.version,
        "artifact_uri": model.artifact_uri[:1024],
        "labels": dict(model.labels),
        "owner": model.labels.get(OWNER, ""),
        "run_uid": model.labels.get(RUN, "")[:32],
        "remote_created_at": model.create_time,
        "remote_updated_at": model.update_time,
    }


def _run_folders() -> Iterator[Sequence[str]]:
    """The prefixes of runs with a saved model: one listing, however many runs there are."""
    settings = require_settings()
    root = f"{settings.ARTIFACTS_PREFIX}/"
    glob = f"{root}**/{PUSHED}*/saved_model.pb"
    for page in storage.list_objects(settings.BUCKET, root, glob=glob):
        yield _folders(settings.BUCKET, page)


def _folders(bucket: str, page: Iterable[RemoteObject]) -> list[str]:
    return [f"gs://{bucket}/{found.name.rpartition(PUSHED)[0]}" for found in page]


def _service_row(service: RemoteService) -> Json:
    return {
        "uri": service.uri,
        "labels": dict(service.labels),
        "owner": service.labels.get(OWNER, ""),
        "endpoint_uid": service.labels.get(ENDPOINT, "")[:32],
        "run_uid": service.labels.get(RUN, "")[:32],
        "ready": service.ready,
        "newest_revision": service.latest_created_revision,
        "serving_revisions": list(service.serving),
    }


PLANES: Mapping[str, Plane] = {
    "vertex": Plane(
        pages=lambda: vertex.list_models(page_size=100),
        name=lambda model: model.name.model_id,
        row=_model_row,
        table=MirroredModel,
        key="model_id",
    ),
    "gcs": Plane(
        pages=_run_folders,
        name=str,
        row=lambda _: {},
        table=MirroredArtifacts,
        key="prefix",
    ),
    "cloud_run": Plane(
        pages=lambda: cloud_run.list_services(page_size=100),
        name=lambda service: service.service_id,
        row=_service_row,
        table=MirroredService,
        key="service_name",
    ),
}
