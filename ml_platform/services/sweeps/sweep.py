"""The sweep: read each plane page by page into the mirror, then compare it with our tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Model, Q

from ml_platform.cloud import cloud_run, storage, vertex
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.transport.channels import request_reason, shared_retry_budget
from ml_platform.cloud.types import RemoteModel, RemoteObject, RemoteService
from ml_platform.conf import require_settings
from ml_platform.models import (
    MirroredArtifacts,
    MirroredModel,
    MirroredService,
    RegisteredModel,
    Sweep,
)
from ml_platform.models.states import SweepStatus
from ml_platform.services.operations.store import Actor, Clock, Heartbeat, Json
from ml_platform.services.registry.labels import ENDPOINT, OWNER, RUN

from .models import compare

PUSHED = "pushed_model/"
ABANDONED_AFTER = timedelta(hours=6)
LEFT_OUT = 20
"""Rows that a sweep could not judge of which it says which and why; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """How a plane is read: its pages, and the mirror rows that a page becomes."""

    pages: Callable[[], Iterator[Sequence[Any]]]
    row: Callable[[Any], Json]
    table: type[Model]
    key: str


def sweep(*, actor: Actor, clock: Clock, heartbeat: Heartbeat = lambda: None) -> Sweep:
    """Read all planes, keep what they said, and bring the findings up to date.

    A plane of which a page failed is unknown: its mirror rows stay, and nothing is concluded
    from it (law 3).

    :raises Misconfigured: PROJECT_ID, LOCATION or BUCKET is missing; nothing was written.
    """
    require_settings()
    started = clock()
    _end_abandoned(clock)
    current = Sweep.objects.create(actor_label=actor.label, started_at=started)
    with request_reason(f"sweep {current.pk}"), shared_retry_budget():
        for name, plane in PLANES.items():
            current.planes[name] = _read_plane(plane, current, clock, heartbeat)
    held = compare(sweep=current, now=clock())
    told = [asdict(left_out) for left_out in held[:LEFT_OUT]]
    current.counts = _counts(current.planes) | {"held": len(held), "left_out": told}
    complete = all(plane["read"] for plane in current.planes.values())
    current.status = SweepStatus.COMPLETE if complete else SweepStatus.PARTIAL
    current.finished_at = clock()
    current.save()
    return current


def _end_abandoned(clock: Clock) -> None:
    """A sweep whose process died never says so itself."""
    dead = Sweep.objects.filter(
        status=SweepStatus.RUNNING, started_at__lt=clock() - ABANDONED_AFTER
    )
    dead.update(status=SweepStatus.PARTIAL, finished_at=clock())


def _read_plane(plane: Plane, sweep: Sweep, clock: Clock, heartbeat: Heartbeat) -> Json:
    answer = ask(lambda: _copy(plane, sweep, clock, heartbeat))
    if not isinstance(answer, Present):
        code = getattr(answer, "code", "cloud_absent")
        return {"read": False, "reason": answer.reason, "code": code}
    _forget_unseen(plane, sweep)
    return {"read": True, "reason": "", "code": "", "pages": answer.value}


def _copy(plane: Plane, sweep: Sweep, clock: Clock, heartbeat: Heartbeat) -> int:
    """Write the plane's pages into the mirror, one at a time; returns how many there were."""
    pages = 0
    for page in plane.pages():
        heartbeat()
        pages += 1
        seen = {"seen_sweep": sweep, "seen_at": clock()}
        # Keyed, because one statement may not upsert the same row twice; in the keys' order,
        # because two sweeps that lock rows in different orders would stop each other.
        keyed = {row[plane.key]: plane.table(**row, **seen) for row in map(plane.row, page)}
        rows = [keyed[key] for key in sorted(keyed)]
        columns = [
            field.name
            for field in plane.table._meta.concrete_fields  # noqa: SLF001 - Django's documented name
            if field.name not in ("id", plane.key)
        ]
        if rows:
            plane.table._default_manager.bulk_create(  # noqa: SLF001 - Django's documented name
                rows,
                update_conflicts=True,
                unique_fields=[plane.key],
                update_fields=columns,
            )
    return pages


def _forget_unseen(plane: Plane, sweep: Sweep) -> None:
    """Drop what this complete reading did not show, unless a sweep beside it saw it meanwhile."""
    seen = Q(seen_sweep__gte=sweep.pk) | Q(seen_at__gt=sweep.started_at)
    plane.table._default_manager.exclude(seen).delete()  # noqa: SLF001 - Django's documented name


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
        "model_id": model.name.model_id,
        "resource_name": str(model.name),
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
        "service_name": service.service_id,
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
        row=_model_row,
        table=MirroredModel,
        key="model_id",
    ),
    "gcs": Plane(
        pages=_run_folders,
        row=lambda prefix: {"prefix": prefix},
        table=MirroredArtifacts,
        key="prefix",
    ),
    "cloud_run": Plane(
        pages=lambda: cloud_run.list_services(page_size=100),
        row=_service_row,
        table=MirroredService,
        key="service_name",
    ),
}
