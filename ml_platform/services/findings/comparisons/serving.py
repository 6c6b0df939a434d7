"""Describe an active endpoint that serves what is not a registered, verified version: pure
functions of rows that are loaded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.models.endpoints.serving_truth import ServedVersion
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.subjects import version_name

REQUEST_DAYS = timedelta(days=7)
REGISTER_AGAIN = (
    "Search Vertex AI for a version of this run. If it has none, upload the run's files, if they "
    "are still those of its manifest, and record the version. What serves is not changed."
)
_WHY = {
    ServedVersion.NOT_OURS: "what it serves was never registered here",
    ServedVersion.NOT_REGISTERED: "its run cannot be registered now, or its files are not there",
    ServedVersion.LOST: "its files are not there, or are not those of its manifest",
    ServedVersion.DELETED: "its version was deleted",
    ServedVersion.MISSING: "the stale pointer is cleared first, with its own finding",
    ServedVersion.CHANGED: "a version is its files: restore them (object versions, soft delete)",
}


def serving_subject(service: str) -> str:
    """Return the subject of the finding about what a service serves."""
    return f"serving of {service}"


def compare_serving(
    endpoint: DeployedEndpoint,
    unverified: Sequence[Any],
    *,
    again: Collection[int],
    instead: TrainingRun | None,
    requests: str,
) -> Discrepancy:
    """Describe what the endpoint serves that is not verified.

    `unverified` are its rows of EndpointTraffic, annotated with `served`; `again` are the runs that
    can be registered again, and `instead` is the version that can be deployed in its place.
    """
    row = min(unverified, key=lambda row: (row.run_id not in again, -row.percent))
    served = ServedVersion(row.served)
    safe = row.run if row.run_id in again else None
    return Discrepancy(
        kind=FindingKind.SERVING_UNVERIFIED,
        subject=serving_subject(endpoint.service_name),
        title=serving_title(endpoint, row),
        repair=REGISTER_AGAIN if safe else _no_repair(served, instead),
        evidence={
            "service_name": endpoint.service_name,
            "model_name": endpoint.registered_model.model_name,
            "endpoint_serves": version_name(endpoint.run) if endpoint.run else "",
            "unverified": [
                f"{row}: {_what(endpoint, row)}, which {ServedVersion(row.served).label}"
                for row in unverified
            ],
            "requests_of_7_days": requests,
        },
        project_id=endpoint.project_id,
        lineage_id=endpoint.registered_model_id,
        run_id=safe.pk if safe else None,
    )


def serving_title(endpoint: DeployedEndpoint, row: Any) -> str:
    """What an endpoint serves, by a row of EndpointTraffic that is annotated with `served`."""
    by = "" if row.percent else f" by the tag {row.tag}"
    return f"{endpoint} serves {_what(endpoint, row)}{by}, which {ServedVersion(row.served).label}"


def requests_text(days: Sequence[int | None]) -> str:
    """The sum of these days; a day that is not known is said, not counted as none (law 15)."""
    known = [requests for requests in days if requests is not None]
    if not known:
        return "unknown: no day of these was read from Cloud Monitoring"
    part = "" if len(known) == len(days) else f" on the {len(known)} of {len(days)} days known"
    return f"{sum(known):,}{part}"


def _what(endpoint: DeployedEndpoint, row: Any) -> str:
    """The version, without the name of another project's (law 10)."""
    if row.run is None:
        return "a model"
    if row.run.project_id != endpoint.project_id:
        return "a model of another project"
    return version_name(row.run)


def _no_repair(served: ServedVersion, instead: TrainingRun | None) -> str:
    ways = f"Deploy {version_name(instead)}, or undeploy" if instead else "Undeploy"
    return f"No automatic repair yet: {_WHY[served]}. {ways} the endpoint."
