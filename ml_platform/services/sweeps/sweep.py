"""Sweep: read each plane page by page into the mirror, then compare it with our tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import Error
from django.db.models import Model, Q, QuerySet
from django.utils.module_loading import import_string

from ml_platform.cloud import cloud_run, scheduler, vertex
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.transport.channels import request_reason, shared_retry_budget
from ml_platform.cloud.types import RemoteEndpoint, RemoteJob, RemoteModel, RemoteService
from ml_platform.conf import get_settings, require_settings
from ml_platform.errors import Invalid
from ml_platform.models import (
    MirroredArtifacts,
    MirroredEndpoint,
    MirroredJob,
    MirroredModel,
    MirroredService,
    RegisteredModel,
    Sweep,
)
from ml_platform.models.database import write_connection
from ml_platform.models.endpoints.serving_truth import PLANES as SERVING_PLANES
from ml_platform.models.locking import delete_rows, update_rows
from ml_platform.models.states import SweepStatus
from ml_platform.services.findings.exclusions import LeftOut, Reading, count_left_out, tell_left_out
from ml_platform.services.findings.kinds import KINDS
from ml_platform.services.findings.row_by_row import write_each
from ml_platform.services.findings.store import close_unseen, reopen_expired, write_findings
from ml_platform.services.installation.identity import Identity, identity
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Clock, Heartbeat, Json, lease_end
from ml_platform.services.ownership.labels import ENDPOINT, INSTALLATION, OWNER, RUN
from ml_platform.services.scheduling.job import our_address
from ml_platform.services.serving.our_fields import keep_seen

from .audit import unread_kinds
from .changed_versions import read_changed_versions
from .daily_counts import keep_daily_counts
from .planes.services import keep_what_serves
from .pushed_models import read_pushed_models
from .shrinking import judge

log = logging.getLogger("ml_platform.jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """How to read a plane: its pages, and the mirror row of each item.

    `name` returns the item's key. `row` returns the other columns, and raises Invalid for an item
    that cannot be a valid reference.
    """

    pages: Callable[[], Iterator[Sequence[Any]]]
    name: Callable[[Any], str]
    row: Callable[[Any, Identity], Json]
    table: type[Model]
    key: str
    keep: Callable[[Sequence[Any], Sweep, datetime], object] = lambda page, sweep, now: None
    """Writes what else a page says about our rows."""


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
    with request_reason(f"sweep {current.pk}"), shared_retry_budget():
        for name, plane in PLANES.items():
            left_out[name] = []
            had = plane.table._default_manager.count()  # noqa: SLF001 - Django's documented name
            current.planes[name] = _read_plane(plane, current, clock, heartbeat, left_out[name])
            if current.planes[name]["read"]:
                unstored = {one.what for one in left_out[name]}
                current.planes[name] |= _forget_unseen(name, current, unstored, had)
        if current.planes["vertex"]["read"]:
            renew = partial(_renew_lease, current, clock, heartbeat)
            read_changed_versions(began=current.started_at, renew=renew)
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
    plane: Plane, sweep: Sweep, clock: Clock, heartbeat: Heartbeat, left_out: list[LeftOut]
) -> Json:
    answer = ask(lambda: _copy(plane, sweep, clock, heartbeat, left_out))
    if not isinstance(answer, Present):
        code = getattr(answer, "code", "cloud_absent")
        return {"read": False, "reason": answer.reason, "code": code}
    read = {"read": True, "reason": "", "code": "", "pages": answer.value}
    return read | count_left_out(left_out)


def _copy(
    plane: Plane, sweep: Sweep, clock: Clock, heartbeat: Heartbeat, left_out: list[LeftOut]
) -> int:
    """Write the plane's pages into the mirror, one at a time; returns their number."""
    pages, us = 0, identity()
    for page in plane.pages():
        pages += 1
        now = _renew_lease(sweep, clock, heartbeat)
        seen = {"seen_sweep": sweep, "seen_at": now}
        left_out += _keep_page(plane, page, seen, us)
        plane.keep(page, sweep, now)
    return pages


def _keep_page(plane: Plane, page: Sequence[Any], seen: Json, us: Identity) -> list[LeftOut]:
    """Write a page into the mirror; returns the items that cannot be stored."""
    left_out: list[LeftOut] = []
    # By key, because one statement must not upsert a row twice; sorted, because two sweeps
    # that lock rows in different orders would deadlock.
    keyed: dict[str, Json] = {}
    for found in page:
        name = plane.name(found)
        try:
            keyed[name] = {plane.key: name, **plane.row(found, us), **seen}
        except Invalid as error:
            left_out.append(LeftOut(name, str(error), None))
    rows = [keyed[key] for key in sorted(keyed)]
    unstored = write_each(rows, partial(_upsert, plane))
    return [*left_out, *(LeftOut(row[plane.key], why, None) for row, why in unstored)]


def _upsert(plane: Plane, rows: Sequence[Json]) -> None:
    # Other columns stay: the versions of a model are not read with its listing.
    columns = [name for name in rows[0] if name != plane.key]
    plane.table._default_manager.bulk_create(  # noqa: SLF001 - Django's documented name
        [plane.table(**row) for row in rows],
        update_conflicts=True,
        unique_fields=[plane.key],
        update_fields=columns,
    )


def _forget_unseen(name: str, sweep: Sweep, unstored: Collection[str], had: int) -> Json:
    """Delete the mirror rows that this complete reading did not list, of the `had` before it.

    Rows that a concurrent sweep has seen stay, as do those that were listed but could
    not be stored. If it lacks too many, all stay, and the plane counts as not read.
    """
    plane = PLANES[name]
    seen = Q(seen_sweep__gte=sweep.pk) | Q(seen_at__gt=sweep.started_at)
    unseen = plane.table._default_manager.exclude(seen)  # noqa: SLF001 - Django's documented name
    if unstored:
        keys = unseen.values_list("pk", plane.key).iterator()
        unseen = unseen.exclude(pk__in=[pk for pk, key in keys if key in unstored])
    if shrunk := judge(name, had=had, unseen=unseen):
        return shrunk
    delete_rows(unseen)
    return {}


def _counts(planes: Mapping[str, Json]) -> Json:
    remote = {
        name: _ours(plane.table).count() if planes[name]["read"] else None
        for name, plane in PLANES.items()
    }
    return {
        "rows": RegisteredModel.objects.count(),
        "registered": RegisteredModel.objects.registered().count(),
        **remote,
        "theirs": {
            name: plane.table._default_manager.filter(theirs=True).count()  # noqa: SLF001
            for name, plane in PLANES.items()
            if _has_owner(plane.table) and planes[name]["read"]
        },
    }


def _ours(table: type[Model]) -> QuerySet[Any]:
    """The rows of a mirror except those of other installations."""
    rows = table._default_manager.all()  # noqa: SLF001 - Django's documented name
    return rows.filter(theirs=False) if _has_owner(table) else rows


def _has_owner(table: type[Model]) -> bool:
    return hasattr(table, "theirs")


# ---- the planes --------------------------------------------------------------------------------


def _model_row(model: RemoteModel, us: Identity) -> Json:
    return {
        "resource_name": str(model.pointer.bare),  # raises Invalid for a bad version, too
        "display_name": model.display_name,
        "version": model.version,
        "artifact_uri": model.artifact_uri[:1024],
        "labels": dict(model.labels),
        **_owner(model.labels, us),
        "run_uid": model.labels.get(RUN, "")[:32],
        "remote_created_at": model.create_time,
        "remote_updated_at": model.update_time,
        "revision": f"{model.update_time} {model.etag}"[:320],
    }


def _endpoint_row(endpoint: RemoteEndpoint, _: Identity) -> Json:
    return {
        "resource_name": str(endpoint.name),
        "display_name": endpoint.display_name[:128],
        "deployed": [
            {
                "id": one.deployed_id,
                "model": one.model,
                "version": one.version,
                "percent": one.percent,
            }
            for one in endpoint.deployed
        ],
        "remote_created_at": endpoint.create_time,
    }


def _service_row(service: RemoteService, us: Identity) -> Json:
    return {
        "uri": service.uri,
        "labels": dict(service.labels),
        **_owner(service.labels, us),
        "endpoint_uid": service.labels.get(ENDPOINT, "")[:32],
        "run_uid": service.labels.get(RUN, "")[:32],
        "ready": service.ready,
        "newest_revision": service.latest_created_revision,
        "ready_revision": service.latest_ready_revision,
        "spec": keep_seen(service.spec) if service.spec else None,
        "changed_by": service.changed_by[:255],
        "changed_at": service.changed_at,
    }


def _job_row(job: RemoteJob, _: Identity) -> Json:
    return {
        "resource_name": str(job.name),
        "state": job.state,
        "schedule": job.spec.schedule[:255],
        "time_zone": job.spec.time_zone[:64],
        "uri": job.spec.uri[:2048],
        "service_account": job.spec.service_account[:255],
        "theirs": not job.spec.uri.startswith(our_address()),
        "next_at": job.next_run,
        "last_attempt_at": job.last_attempt,
        "last_error": job.last_error,
    }


def _owner(labels: Mapping[str, str], us: Identity) -> Json:
    owner = labels.get(OWNER, "")
    return {"owner": owner, "theirs": us.is_another(owner, labels.get(INSTALLATION, ""))}


PLANES: Mapping[str, Plane] = {
    "vertex": Plane(
        pages=lambda: vertex.list_models(page_size=100),
        name=lambda model: model.name.model_id,
        row=_model_row,
        table=MirroredModel,
        key="model_id",
    ),
    "gcs": Plane(
        pages=read_pushed_models,
        name=lambda pushed: pushed.prefix,
        row=lambda pushed, _: {"folders": pushed.folders},
        table=MirroredArtifacts,
        key="prefix",
    ),
    "cloud_run": Plane(
        pages=lambda: cloud_run.list_services(page_size=100),
        name=lambda service: service.service_id,
        row=_service_row,
        table=MirroredService,
        key="service_name",
        keep=keep_what_serves,
    ),
    "scheduler": Plane(
        pages=scheduler.list_jobs,
        name=lambda job: job.name.job_id,
        row=_job_row,
        table=MirroredJob,
        key="job_id",
    ),
    "vertex_endpoints": Plane(
        pages=lambda: vertex.list_endpoints(page_size=100),
        name=lambda endpoint: endpoint.name.endpoint_id,
        row=_endpoint_row,
        table=MirroredEndpoint,
        key="endpoint_id",
    ),
}
