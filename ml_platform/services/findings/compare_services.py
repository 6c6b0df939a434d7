"""Compare our endpoints with what Cloud Run lists: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml_platform.models.states import EndpointState, Registration
from ml_platform.services.findings.kinds import FindingKind

from .discrepancy import Discrepancy

DELETE_SERVICE = (
    "Read the service and its labels again. If no endpoint needs it, delete it and verify that it "
    "is gone. Nothing else is changed."
)
UNKNOWN_SERVICE = (
    "No automatic repair: we have no endpoint and no run for it under this name, so it may belong "
    "to another database, or be a copy. Check it, then delete it on Cloud Run."
)
END_ENDPOINT = (
    "Ask Cloud Run for this exact name. Only if it answers NOT_FOUND, record that the endpoint "
    "no longer serves. It can be redeployed."
)
RECORD_SERVED = (
    "Read the service again. If all of its traffic still goes to that version, record it, which "
    "protects it from deletion. The traffic is not changed. Redeploy to serve the other version."
)
REDEPLOY = (
    "No automatic repair. Redeploy the endpoint to serve its recorded version again. If that "
    "version is lost, undeploy the endpoint or deploy another version."
)
FOREIGN_SERVICE = (
    "No automatic repair: without our labels we may not change it. Put the labels back, or "
    "undeploy the endpoint, which does not change that service."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenService:
    """A service as Cloud Run listed it. The owner and uids are its labels."""

    name: str
    owner: str
    endpoint_uid: str
    run_uid: str
    uri: str
    newest: str = ""
    serving: tuple[str, ...] = ()
    """The revisions that may get requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A run that the label of a service, or an endpoint, refers to."""

    id: int
    uid: str
    lineage_id: int | None
    project_id: Any
    model_name: str
    number: int | None
    registration: str

    def __str__(self) -> str:
        return f"{self.model_name} v{self.number}" if self.number else self.model_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint; `run` is what it serves, or served last."""

    id: int
    uid: str
    name: str
    state: str
    is_active: bool
    model_deleted: bool
    lineage_id: int
    project_id: Any
    model_name: str
    run: Served | None
    revision: str = ""
    """The revision that we have seen serve it."""


def service_subject(name: str) -> str:
    """Return the subject of findings about a service of that name."""
    return f"service {name}"


def compare_leftover(
    seen: SeenService,
    named: Endpoint | None,
    on_its_name: Endpoint | None,
    run: Served | None,
    *,
    own: bool,
) -> Discrepancy | None:
    """Compare a service that has our label with the endpoints it may belong to.

    `named` is the endpoint that its label names, `on_its_name` the one with its name, and `run` the
    run that its label names. None when one of the endpoints serves, or may serve. Another database
    may share our label, and a copied service has it too; so the finding gets a lineage, and with it
    a repair, only when our endpoint or run is known under this service name (`own`).
    """
    rows = [row for row in (named, on_its_name) if row]
    if any(row.is_active or row.state != EndpointState.INACTIVE for row in rows):
        return None
    copied = named is not None and named.name != seen.name
    known = None if copied else named or (run if own else None)
    owners = {row.project_id for row in (named, on_its_name, run) if row}
    lineage = known.lineage_id if known else None
    return Discrepancy(
        kind=FindingKind.LEFTOVER_SERVICE,
        subject=service_subject(seen.name),
        title=f"{seen.name} is on Cloud Run with our label, but {_why_left(named, copied)}",
        repair=DELETE_SERVICE if lineage else UNKNOWN_SERVICE,
        evidence=_evidence(seen) | {"served": str(run) if run else ""},
        # A finding that names rows of two projects is shown to neither (law 10).
        project_id=known.project_id if known and len(owners) == 1 else None,
        lineage_id=lineage,
        run_id=run.id if run else None,
    )


def _why_left(named: Endpoint | None, copied: bool) -> str:  # noqa: FBT001 - one of two words
    if named is None:
        return "no endpoint uses it"
    if copied:
        return f"its label names the endpoint {named.name}"
    if named.model_deleted:
        return "the version of its endpoint was deleted"
    return "its endpoint is inactive"


def compare_endpoint(
    endpoint: Endpoint, seen: SeenService | None, run: Served | None, *, owner: str
) -> Discrepancy | None:
    """Compare an active endpoint with the service of its name; None when they agree."""
    if seen is None:
        return _of_endpoint(
            FindingKind.SERVICE_MISSING,
            endpoint,
            f"{endpoint.name} is active, but Cloud Run does not list it",
            END_ENDPOINT,
            {"cloud_run_listing": "complete, without this service"},
            endpoint.run,
        )
    if seen.owner != owner or seen.endpoint_uid != endpoint.uid:
        return _of_endpoint(
            FindingKind.SERVICE_MISMATCH,
            endpoint,
            f"{endpoint.name} on Cloud Run does not carry the labels of this endpoint",
            FOREIGN_SERVICE,
            _said_to(endpoint, seen, run),
            None,
        )
    if endpoint.run and seen.run_uid == endpoint.run.uid:
        return _compare_traffic(endpoint, seen)
    known = run is not None and run.lineage_id == endpoint.lineage_id
    safe = known and run is not None and run.registration == Registration.REGISTERED
    return _of_endpoint(
        FindingKind.SERVICE_MISMATCH,
        endpoint,
        f"{endpoint.name} serves {run if known else 'none of our versions'}, "
        f"but its endpoint records {endpoint.run}",
        RECORD_SERVED if safe else REDEPLOY,
        _said_to(endpoint, seen, run),
        run if safe else None,
    )


def _compare_traffic(endpoint: Endpoint, seen: SeenService) -> Discrepancy | None:
    """Requests must go to the newest revision, or to the one that we saw serve the version."""
    unexpected = sorted(set(seen.serving) - {seen.newest, endpoint.revision})
    if not unexpected:
        return None
    return _of_endpoint(
        FindingKind.SERVICE_MISMATCH,
        endpoint,
        f"{endpoint.name} sends requests to {', '.join(unexpected)}, but its endpoint records "
        f"{endpoint.run}",
        REDEPLOY,
        _evidence(seen),
        None,
    )


def _of_endpoint(
    kind: FindingKind,
    endpoint: Endpoint,
    title: str,
    repair: str,
    said: dict[str, Any],
    run: Served | None,
) -> Discrepancy:
    return Discrepancy(
        kind=kind,
        subject=service_subject(endpoint.name),
        title=title,
        repair=repair,
        evidence={
            "service_name": endpoint.name,
            "model_name": endpoint.model_name,
            "endpoint_serves": str(endpoint.run) if endpoint.run else "",
            **said,
        },
        project_id=endpoint.project_id,
        lineage_id=endpoint.lineage_id,
        run_id=run.id if run else None,
    )


def _said_to(endpoint: Endpoint, seen: SeenService, run: Served | None) -> dict[str, Any]:
    """Return the evidence without labels that name rows of another project (law 10)."""
    if run is None or run.project_id == endpoint.project_id:
        return _evidence(seen)
    return _evidence(seen) | {"cloud_run_label_mlp_endpoint": "", "cloud_run_label_mlp_run": ""}


def _evidence(seen: SeenService) -> dict[str, Any]:
    return {
        "service_name": seen.name,
        "url": seen.uri,
        "cloud_run_label_mlp_owner": seen.owner,
        "cloud_run_label_mlp_endpoint": seen.endpoint_uid,
        "cloud_run_label_mlp_run": seen.run_uid,
        "newest_revision": seen.newest,
        "serving_revisions": list(seen.serving),
    }
