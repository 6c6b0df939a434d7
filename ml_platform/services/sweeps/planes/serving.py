"""Find active endpoints that serve what is not a registered, verified version."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from ml_platform.errors import PlatformError
from ml_platform.models import (
    DeployedEndpoint,
    EndpointTraffic,
    Manifest,
    MirroredArtifacts,
    ServiceDailyMetrics,
    TrainingRun,
)
from ml_platform.models.endpoints.serving_truth import (
    UNVERIFIED,
    ServedVersion,
    with_served_version,
)
from ml_platform.models.registry.manifest import FilesState
from ml_platform.models.states import Registration, RegistryState
from ml_platform.services.findings.comparisons.serving import (
    REQUEST_DAYS,
    compare_serving,
    requests_text,
    serving_subject,
)
from ml_platform.services.findings.discrepancy import Discrepancy, artifacts_of
from ml_platform.services.findings.exclusions import Reading
from ml_platform.services.registration.again import require_again
from ml_platform.services.registration.register import REGISTRABLE

Traffic: TypeAlias = dict[DeployedEndpoint, list[Any]]
"""The rows of EndpointTraffic of each endpoint, annotated with `served`."""
NEEDS = {ServedVersion.MISSING: "vertex", ServedVersion.CHANGED: "gcs"}
"""The plane, beside Cloud Run, by which a served version is judged so."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """What was found, and the subjects of which nothing is known now."""

    found: list[Discrepancy] = field(default_factory=list)
    held: list[str] = field(default_factory=list)


def traffic_of(endpoints: Collection[DeployedEndpoint], *, now: datetime) -> Traffic:
    """Return what requests to these endpoints reach."""
    rows = EndpointTraffic.objects.filter(endpoint__in=endpoints).order_by("-percent", "pk")
    served = with_served_version(rows.select_related("run"), now=now)
    by_pk = {endpoint.pk: endpoint for endpoint in endpoints}
    found: Traffic = {}
    for row in served:
        found.setdefault(by_pk[row.endpoint_id], []).append(row)
    return found


def find_unverified(
    reading: Reading, traffic: Mapping[DeployedEndpoint, Sequence[Any]]
) -> Unverified:
    """Describe the endpoints that serve something else than verified versions.

    A version that was judged by a plane that this sweep could not read is unknown.
    """
    result = Unverified()
    unverified: Traffic = {}
    for endpoint, rows in traffic.items():
        judged = [row for row in rows if _is_judged(reading, row)]
        if bad := [row for row in judged if row.served in UNVERIFIED]:
            unverified[endpoint] = bad
        elif len(judged) < len(rows) or not rows:
            result.held.append(serving_subject(endpoint.service_name))
    if not unverified:
        return result
    again = _registrable({row.run for rows in unverified.values() for row in rows if row.run})
    instead = _newest_deployable(unverified)
    requests = _requests(unverified, reading.now)
    result.found.extend(
        compare_serving(
            endpoint,
            rows,
            again={pk for pk, project in again.items() if project == endpoint.project_id},
            instead=instead.get(endpoint.registered_model_id),
            requests=requests[endpoint],
        )
        for endpoint, rows in unverified.items()
    )
    return result


def _is_judged(reading: Reading, row: Any) -> bool:
    if row.served == ServedVersion.UNKNOWN:
        return False
    plane = NEEDS.get(row.served)
    return plane is None or bool(reading.sweep.planes[plane]["read"])


def _registrable(runs: Iterable[TrainingRun]) -> dict[int, Any]:
    """Return the runs that can be registered again, with their projects: the newest listing shows
    their files, and these are those of their manifests."""
    runs = [run for run in runs if run.registration in REGISTRABLE]
    prefixes = {artifacts_of(run) for run in runs}
    listed = MirroredArtifacts.objects.filter(prefix__in=prefixes)
    folders = dict(listed.values_list("prefix", "folders"))
    manifests = {row.run_id: row for row in Manifest.objects.filter(run__in=runs).defer("files")}
    found: dict[int, Any] = {}
    for run in runs:
        if _are_whole(run, folders.get(artifacts_of(run)) or {}, manifests.get(run.pk)):
            try:
                require_again(run)
            except PlatformError:
                continue
            found[run.pk] = run.project_id
    return found


def _are_whole(
    run: TrainingRun, folders: Mapping[str, Mapping[str, Any]], manifest: Manifest | None
) -> bool:
    if manifest is None:
        return bool(folders) and run.registration == Registration.NONE
    seen = folders.get(manifest.folder.rstrip("/").rpartition("/")[2], {})
    return seen.get("digest") == manifest.digest


def _newest_deployable(endpoints: Iterable[DeployedEndpoint]) -> dict[int, TrainingRun]:
    lineages = {endpoint.registered_model_id for endpoint in endpoints}
    runs = TrainingRun.objects.deployable().filter(registered_model__in=lineages)
    verified = runs.filter(
        registered_model__registry_state__in=[RegistryState.VERIFIED, RegistryState.CHANGED],
        manifest__state=FilesState.VERIFIED,
    ).order_by("version")
    return {run.registered_model_id: run for run in verified if run.registered_model_id}


def _requests(endpoints: Iterable[DeployedEndpoint], now: datetime) -> dict[DeployedEndpoint, str]:
    """Return the requests of the last seven full days, in words."""
    today = now.astimezone(UTC).date()
    days = [today - timedelta(days=n) for n in range(1, REQUEST_DAYS.days + 1)]
    shown = list(endpoints)
    rows = ServiceDailyMetrics.objects.filter(
        service_name__in=[endpoint.service_name for endpoint in shown], day__in=days
    )
    known = {
        (name, project, day): requests
        for name, project, day, requests in rows.values_list(
            "service_name", "project", "day", "requests"
        )
    }
    return {
        endpoint: requests_text(
            [known.get((endpoint.service_name, endpoint.project_id, day)) for day in days]
        )
        for endpoint in shown
    }
