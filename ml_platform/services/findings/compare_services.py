"""What counts as a disagreement between our endpoints and Cloud Run: pure judgements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml_platform.models.states import EndpointState, Registration
from ml_platform.services.findings.kinds import FindingKind

from .discrepancy import Discrepancy

DELETE_SERVICE = (
    "Read the service and its labels again; if no endpoint needs it, delete it and see that it is "
    "gone. Nothing else of it is touched."
)
UNKNOWN_SERVICE = (
    "None by itself: no endpoint and no run of ours stands for it under this name, so it may be "
    "another database's or somebody's copy. Look at it, then delete it on Cloud Run."
)
END_ENDPOINT = (
    "Ask Cloud Run for this very name; only if it answers NOT_FOUND, record that the endpoint "
    "serves no more. It can be redeployed."
)
RECORD_SERVED = (
    "Look again; if it still serves that version, all of it, record so: what serves is protected. "
    "The traffic is left as it is. Redeploy to bring back the other."
)
REDEPLOY = (
    "None by itself. Redeploy the endpoint, which brings back the version it should serve; if that "
    "version is lost, undeploy it or deploy another."
)
SOMEBODY_ELSES = (
    "None by itself: without our labels it is not ours to change. Undeploy the endpoint, which "
    "leaves that service alone, or put the labels back."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenService:
    """A service as Cloud Run listed it; the labels say whose it is."""

    name: str
    owner: str
    endpoint_uid: str
    run_uid: str
    uri: str
    newest: str = ""
    serving: tuple[str, ...] = ()
    """Revisions that requests may reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A run that a service or an endpoint names."""

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
    """A row of ours; `run` is what it serves, or served last."""

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
    """The one that we saw serve it."""


def service_subject(name: str) -> str:
    """The subject of findings about a service of that name."""
    return f"service {name}"


def compare_leftover(
    seen: SeenService,
    named: Endpoint | None,
    on_its_name: Endpoint | None,
    run: Served | None,
    *,
    own: bool,
) -> Discrepancy | None:
    """Compare a service of ours with the endpoint its label names, and the one that has its name.

    One that serves, or may serve, keeps it. `run` is what its label names, if we have it, and `own`
    says whether the service has a name of that run's model. Only a service that a row of ours
    stands for, under its own name, is ours to delete: another database may share our label, and a
    person's copy of a service has it too.
    """
    rows = [row for row in (named, on_its_name) if row]
    if any(row.is_active or row.state != EndpointState.INACTIVE for row in rows):
        return None
    copied = named is not None and named.name != seen.name
    stands_for_it = None if copied else named or (run if own else None)
    owners = {thing.project_id for thing in (named, on_its_name, run) if thing}
    lineage = stands_for_it.lineage_id if stands_for_it else None
    return Discrepancy(
        kind=FindingKind.LEFTOVER_SERVICE,
        subject=service_subject(seen.name),
        title=f"{seen.name} is on Cloud Run with our label, but {_why_left(named, copied)}"[:255],
        repair=DELETE_SERVICE if lineage else UNKNOWN_SERVICE,
        evidence=_evidence(seen) | {"served": str(run) if run else ""},
        # What names things of two projects is shown to neither (law 10).
        project_id=stands_for_it.project_id if stands_for_it and len(owners) == 1 else None,
        lineage_id=lineage,
        run_id=run.id if run else None,
    )


def _why_left(named: Endpoint | None, copied: bool) -> str:  # noqa: FBT001 - one of two words
    if named is None:
        return "no endpoint of ours has it"
    if copied:
        return f"its label is that of the endpoint {named.name}"
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
            f"{endpoint.name} is active, and Cloud Run does not list it",
            END_ENDPOINT,
            {"cloud_run_listing": "read completely, without this service"},
            endpoint.run,
        )
    if seen.owner != owner or seen.endpoint_uid != endpoint.uid:
        return _of_endpoint(
            FindingKind.SERVICE_MISMATCH,
            endpoint,
            f"{endpoint.name} on Cloud Run does not carry the labels of this endpoint",
            SOMEBODY_ELSES,
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
        f"{endpoint.name} serves {run if known else 'no version of ours'}, and its endpoint says "
        f"{endpoint.run}",
        RECORD_SERVED if safe else REDEPLOY,
        _said_to(endpoint, seen, run),
        run if safe else None,
    )


def _compare_traffic(endpoint: Endpoint, seen: SeenService) -> Discrepancy | None:
    """What gets requests must be the newest revision, or the one that we saw serve the version."""
    strange = sorted(set(seen.serving) - {seen.newest, endpoint.revision})
    if not strange:
        return None
    return _of_endpoint(
        FindingKind.SERVICE_MISMATCH,
        endpoint,
        f"{endpoint.name} sends requests to {', '.join(strange)}, and its endpoint says "
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
        title=title[:255],
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
    """The evidence for the endpoint's project: labels of another tenant's are left out (law 10)."""
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
