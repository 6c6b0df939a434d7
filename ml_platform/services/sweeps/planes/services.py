"""Compare our endpoints with the mirror of Cloud Run, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from django.db.models import Q, QuerySet

from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteService, ServiceSpec
from ml_platform.errors import Invalid
from ml_platform.models import (
    DeployedEndpoint,
    EndpointTraffic,
    MirroredService,
    Sweep,
    TrainingRun,
)
from ml_platform.models.database import atomic
from ml_platform.models.locking import update_rows
from ml_platform.models.states import EndpointState
from ml_platform.services.findings.comparisons.services import (
    Change,
    compare_endpoint,
    compare_leftover,
    service_subject,
)
from ml_platform.services.findings.comparisons.serving import serving_subject
from ml_platform.services.findings.exclusions import (
    NEW,
    UNSTORED,
    WORKED_ON,
    Reading,
    Touched,
)
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import hold_findings
from ml_platform.services.operations.store import lineage_key
from ml_platform.services.operations.work import Json
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import is_uid, owner
from ml_platform.services.ownership.own_resources import is_own_service
from ml_platform.services.serving.config import ServingConfig, service_spec
from ml_platform.services.serving.others_changes import version_of_files
from ml_platform.services.serving.our_fields import (
    as_seen,
    compare_seen,
    keep_written,
    read_seen,
    read_written,
    take_over,
)
from ml_platform.services.serving.revisions import keep_traffic, read_traffic

from .invokers import compare_invokers, is_unknown, keep_invokers_of
from .models import Compared
from .serving import Traffic, find_unverified, traffic_of


def keep_what_serves(services: Sequence[RemoteService], sweep: Sweep, now: datetime) -> None:
    """Write what listed services of our endpoints serve, which versions these are, and who may
    call them."""
    keep_invokers_of(services)
    named = {service.service_id: service for service in services}
    rows = DeployedEndpoint.objects.protecting().filter(service_name__in=named)
    ours = {pk: named[name] for pk, name in rows.values_list("pk", "service_name")}
    if ours:
        found = read_traffic(ours)
        with atomic():
            keep_traffic(found, endpoints=ours, now=now, began=sweep.started_at)


def compare_leftovers(reading: Reading) -> Iterator[Compared]:
    """Find services with our label that no endpoint needs; yields each chunk."""
    for chunk in reading.chunks(MirroredService.objects.filter(owner=owner(), theirs=False)):
        uids = [s.endpoint_uid for s in chunk if is_uid(s.endpoint_uid)]
        about = Q(uid__in=uids) | Q(service_name__in=[s.service_name for s in chunk])
        rows = list(_endpoints().filter(about))
        by_uid, by_name = {r.uid.hex: r for r in rows}, {r.service_name: r for r in rows}
        runs = _runs(chunk)
        touched = reading.touched()
        result = Compared([], [])
        for seen in chunk:
            named, run = by_uid.get(seen.endpoint_uid), runs.get(seen.run_uid)
            name, lineage_id = seen.service_name, run.registered_model_id if run else None
            own = named is None and is_own_service(name, lineage_id)
            leftover = compare_leftover(seen, named, by_name.get(name), run, own=own)
            why = _why_not(reading, touched, name, named or run)
            if leftover and why:
                result.leave_out(leftover.subject, name, why, leftover.project_id)
            elif leftover:
                result.found.append(leftover)
        yield result


def compare_endpoints(reading: Reading) -> Iterator[Compared]:
    """Compare each active endpoint with the service of its name, and with what that serves; yields
    each chunk."""
    for chunk in reading.chunks(_endpoints().filter(is_active=True)):
        names = [row.service_name for row in chunk]
        mirrored = MirroredService.objects.filter(service_name__in=names)
        services = {row.service_name: row for row in mirrored}
        runs = _runs(services.values())
        traffic = traffic_of(chunk, now=reading.now)
        touched = reading.touched()
        result = Compared([], [])
        taken: dict[int, Json] = {}
        compared: Traffic = {}
        for row in chunk:
            seen = services.get(row.service_name)
            run = runs.get(seen.run_uid) if seen else None
            if why := _why_left_out(reading, touched, row):
                result.leave_out(
                    service_subject(row.service_name), row.service_name, why, row.project_id
                )
                continue
            compared[row] = traffic.get(row, [])
            if discrepancy := compare_endpoint(
                row,
                seen,
                run,
                compared[row],
                owner=owner(),
                change=_change(row, seen, compared[row]),
                other_files=_has_other_files(seen, run),
            ):
                result.found.append(discrepancy)
            elif seen and seen.spec and _written(row) is None:
                with suppress(Invalid):
                    taken[row.pk] = _as_written(row, read_seen(seen.spec))
        _take(chunk, taken)
        _hold_uncompared(compared, services, reading.sweep)
        unverified = find_unverified(reading, compared)
        result.found.extend(unverified.found)
        left_out = [serving_subject(row.service_name) for row in chunk if row not in compared]
        hold_findings(subjects=[*left_out, *unverified.held], sweep=reading.sweep)
        yield result


def _hold_uncompared(
    rows: Iterable[DeployedEndpoint], services: Mapping[str, MirroredService], sweep: Sweep
) -> None:
    """Keep the findings of a change where it is unknown who may call the service."""
    subjects = [
        service_subject(row.service_name)
        for row in rows
        if is_unknown(row.config, services.get(row.service_name))
    ]
    hold_findings(subjects=subjects, sweep=sweep, kinds=[FindingKind.SERVICE_CHANGED])


def _why_left_out(reading: Reading, touched: Touched, row: DeployedEndpoint) -> str:
    """Return why an active endpoint must not be compared, '' when it may be."""
    if row.deployed_at is not None and row.deployed_at > reading.sweep.started_at:
        return NEW
    moving = WORKED_ON if row.state != EndpointState.ACTIVE else ""
    return moving or _why_not(reading, touched, row.service_name, row)


def _written(row: DeployedEndpoint) -> ServiceSpec | None:
    return read_written(row.written, revision=row.revision)


def _has_other_files(seen: MirroredService | None, run: TrainingRun | None) -> bool:
    """Whether a service has other files than the run of its label; False where it is not known."""
    if run is None or seen is None or not seen.spec:
        return False
    given = read_seen(seen.spec).env.get(ARTIFACT_ENV, "")
    return bool(given) and not holds_files_of(run, given)


def _change(
    row: DeployedEndpoint, seen: MirroredService | None, traffic: Iterable[EndpointTraffic]
) -> Change | None:
    """Return how our fields differ; None where it is not known what the service has or had."""
    written = _written(row)
    if seen is None or not seen.spec or written is None:
        return None
    if told := _others_serve(row, seen, traffic):
        return Change(words=(told,), no_take_over=f"{seen.newest_revision} did not become ready.")
    found = read_seen(seen.spec)
    serves, why = None, ""
    differing = compare_seen(found, written)
    with suppress(Invalid):
        differing += compare_invokers(row.config, seen)
    if not differing:
        return None
    try:
        serves = version_of_files(row, found, differing)
        take_over(ServingConfig.from_dict(row.config), found, differing)
    except Invalid as error:
        why = str(error)
    words = tuple(one.words for one in differing)
    other = serves if serves and serves.pk != row.run_id else None
    return Change(words=words, no_take_over=why, serves=other)


def _others_serve(
    row: DeployedEndpoint, seen: MirroredService, traffic: Iterable[EndpointTraffic]
) -> str:
    """Say that a revision of others serves, because the one they made after it did not become
    ready: what the service has now is not what serves; '' if that is not so."""
    ready = seen.ready_revision
    if ready in ("", row.revision, seen.newest_revision):
        return ""
    serves = any(each.revision == ready and each.percent for each in traffic)
    return f"requests go to {ready}, which others made" if serves else ""


def _as_written(row: DeployedEndpoint, found: ServiceSpec) -> Json:
    """Return what an endpoint of before is taken to have been given: what its service has now.

    :raises Invalid: its configuration is of another release.
    """
    config = ServingConfig.from_dict(row.config)
    given = service_spec(config, artifact_uri=found.env.get(ARTIFACT_ENV, ""), labels={})
    return keep_written(as_seen(given, found), revision=row.revision)


def _take(chunk: Iterable[DeployedEndpoint], taken: Mapping[int, Json]) -> None:
    """Note it unless the row has changed since it was read."""
    for row in chunk:
        if row.pk in taken:
            same = DeployedEndpoint.objects.filter(
                pk=row.pk, revision=row.revision, deployed_at=row.deployed_at
            )
            update_rows(same, written=taken[row.pk])


def _why_not(
    reading: Reading, touched: Touched, service: str, about: DeployedEndpoint | TrainingRun | None
) -> str:
    """Return why a service must not be compared, '' when it may be."""
    if service in reading.unstored["cloud_run"]:
        return UNSTORED
    if about is None:
        return WORKED_ON if service in touched.services else ""
    named = about if isinstance(about, TrainingRun) else about.registered_model
    key = lineage_key(project_id=about.project_id, model_name=named.model_name)
    worked_on = service in touched.services or key in touched.lineages
    return WORKED_ON if worked_on else ""


def _endpoints() -> QuerySet[DeployedEndpoint]:
    return DeployedEndpoint.objects.select_related("registered_model", "run")


def _runs(services: Iterable[MirroredService]) -> dict[str, TrainingRun]:
    """Return the runs that the labels of these services name, by uid."""
    uids = {seen.run_uid for seen in services if is_uid(seen.run_uid)}
    return {run.uid.hex: run for run in TrainingRun.objects.filter(uid__in=uids)}
