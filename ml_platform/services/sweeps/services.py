"""Compare our endpoints with the mirror of Cloud Run, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from django.db.models import Q, QuerySet

from ml_platform.models import DeployedEndpoint, MirroredService, TrainingRun
from ml_platform.models.states import EndpointState
from ml_platform.services.findings.compare_services import (
    Endpoint,
    SeenService,
    Served,
    compare_endpoint,
    compare_leftover,
    service_subject,
)
from ml_platform.services.findings.exclusions import (
    NEW,
    UNSTORED,
    WORKED_ON,
    Reading,
    Touched,
)
from ml_platform.services.operations.store import lineage_key
from ml_platform.services.registry.labels import is_uid, owner
from ml_platform.services.registry.ownership import is_own_service

from .models import Compared


def compare_leftovers(reading: Reading) -> Iterator[Compared]:
    """Find services with our label that no endpoint needs; yields each chunk."""
    for chunk in reading.chunks(MirroredService.objects.filter(owner=owner())):
        services = [_seen(row) for row in chunk]
        uids = [s.endpoint_uid for s in services if is_uid(s.endpoint_uid)]
        about = Q(uid__in=uids) | Q(service_name__in=[s.name for s in services])
        rows = [_endpoint(row) for row in _endpoints().filter(about)]
        by_uid, by_name = {r.uid: r for r in rows}, {r.name: r for r in rows}
        runs = _runs(services)
        touched = reading.touched()
        result = Compared([], [])
        for seen in services:
            named, run = by_uid.get(seen.endpoint_uid), runs.get(seen.run_uid)
            own = named is None and run is not None and is_own_service(seen.name, run.lineage_id)
            leftover = compare_leftover(seen, named, by_name.get(seen.name), run, own=own)
            why = _why_not(reading, touched, seen.name, named or run)
            if leftover and why:
                result.leave_out(leftover.subject, seen.name, why, leftover.project_id)
            elif leftover:
                result.found.append(leftover)
        yield result


def compare_endpoints(reading: Reading) -> Iterator[Compared]:
    """Compare each active endpoint with the service of its name; yields each chunk."""
    for chunk in reading.chunks(_endpoints().filter(is_active=True)):
        rows = [(_endpoint(row), row.deployed_at) for row in chunk]
        mirrored = MirroredService.objects.filter(service_name__in=[row.name for row, _ in rows])
        services = {row.service_name: _seen(row) for row in mirrored}
        runs = _runs(services.values())
        touched = reading.touched()
        result = Compared([], [])
        for row, deployed_at in rows:
            seen = services.get(row.name)
            run = runs.get(seen.run_uid) if seen else None
            young = deployed_at is not None and deployed_at > reading.sweep.started_at
            moving = WORKED_ON if row.state != EndpointState.ACTIVE else ""
            why = NEW if young else moving or _why_not(reading, touched, row.name, row)
            if why:
                result.leave_out(service_subject(row.name), row.name, why, row.project_id)
            elif discrepancy := compare_endpoint(row, seen, run, owner=owner()):
                result.found.append(discrepancy)
        yield result


def _why_not(
    reading: Reading, touched: Touched, service: str, about: Endpoint | Served | None
) -> str:
    """Return why a service must not be compared, '' when it may be."""
    if service in reading.unstored["cloud_run"]:
        return UNSTORED
    if about is None:
        return WORKED_ON if service in touched.services else ""
    key = lineage_key(project_id=about.project_id, model_name=about.model_name)
    worked_on = service in touched.services or key in touched.lineages
    return WORKED_ON if worked_on else ""


def _endpoints() -> QuerySet[DeployedEndpoint]:
    return DeployedEndpoint.objects.select_related("registered_model", "run")


def _seen(row: MirroredService) -> SeenService:
    return SeenService(
        name=row.service_name,
        owner=row.owner,
        endpoint_uid=row.endpoint_uid,
        run_uid=row.run_uid,
        uri=row.uri,
        newest=row.newest_revision,
        serving=tuple(row.serving_revisions),
    )


def _runs(services: Iterable[SeenService]) -> dict[str, Served]:
    """Return the runs that the labels of these services name, by uid."""
    uids = {seen.run_uid for seen in services if is_uid(seen.run_uid)}
    return {run.uid.hex: _served(run) for run in TrainingRun.objects.filter(uid__in=uids)}


def _endpoint(row: DeployedEndpoint) -> Endpoint:
    return Endpoint(
        id=row.pk,
        uid=row.uid.hex,
        name=row.service_name,
        state=row.state,
        is_active=row.is_active,
        model_deleted=row.model_deleted,
        revision=row.revision,
        lineage_id=row.registered_model_id,
        project_id=row.project_id,
        model_name=row.registered_model.model_name,
        run=_served(row.run) if row.run else None,
    )


def _served(run: TrainingRun) -> Served:
    return Served(
        id=run.pk,
        uid=run.uid.hex,
        lineage_id=run.registered_model_id,
        project_id=run.project_id,
        model_name=run.model_name,
        number=run.version,
        registration=run.registration,
    )
