"""Compare our endpoints with what Cloud Run lists: pure functions of rows that are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_platform.models import DeployedEndpoint, EndpointTraffic, MirroredService, TrainingRun
from ml_platform.models.states import EndpointState, Registration
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.operations.subjects import version_name

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
SEND_TRAFFIC = (
    "No automatic repair: traffic that somebody sent elsewhere is not changed. Send it to the "
    "latest revision on Cloud Run (gcloud run services update-traffic --to-latest), or leave it."
)
RELABEL = (
    "Read the service again. If it serves a revision that we made with our labels, write these "
    "beside the labels of others. Revisions and traffic are not changed."
)
TAKE_OR_PUT_BACK = (
    "Take it over: what is there is recorded as ours. Put ours back: the recorded version is "
    "deployed again with our settings. What others set beside them stays either way."
)
PUT_BACK = (
    "Put ours back: the recorded version is deployed again with our settings. What others set "
    "beside them stays."
)
FOREIGN_SERVICE = (
    "No automatic repair: it has the owner label of somebody else, so we may not change it. Put "
    "the labels back, or deploy under another service name."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How the fields of a service that are ours differ from what we wrote."""

    words: tuple[str, ...] = ()
    """For each field, ours and theirs."""
    no_take_over: str = ""
    """Why it cannot be recorded as ours."""
    serves: TrainingRun | None = None
    """The version of the same model whose files it was given."""


def service_subject(name: str) -> str:
    """Return the subject of findings about a service of that name."""
    return f"service {name}"


def compare_leftover(
    seen: MirroredService,
    named: DeployedEndpoint | None,
    on_its_name: DeployedEndpoint | None,
    run: TrainingRun | None,
    *,
    own: bool,
) -> Discrepancy | None:
    """Compare a service that has our label with the endpoints it may belong to.

    `named` is the endpoint that its label names, `on_its_name` the one with its name, and `run` the
    run that its label names. None when one of the endpoints serves, or may serve, under this name.
    Another database may share our label, and a copied service has it too; so the finding gets a
    lineage, and with it a repair, only when our endpoint or run is known under this service name
    (`own`).
    """
    copied = named is not None and named.service_name != seen.service_name
    rows = [row for row in (None if copied else named, on_its_name) if row]
    if any(row.is_active or row.state != EndpointState.INACTIVE for row in rows):
        return None
    known = None if copied else named or (run if own else None)
    owners = {row.project_id for row in (named, on_its_name, run) if row}
    lineage = known.registered_model_id if known else None
    return Discrepancy(
        kind=FindingKind.LEFTOVER_SERVICE,
        subject=service_subject(seen.service_name),
        title=f"{seen} is on Cloud Run with our label, but {_why_left(named, seen)}",
        repair=DELETE_SERVICE if lineage else UNKNOWN_SERVICE,
        evidence=_evidence(seen) | {"served": version_name(run) if run else ""},
        # A finding that names rows of two projects is shown to neither (law 10).
        project_id=known.project_id if known and len(owners) == 1 else None,
        lineage_id=lineage,
        run_id=run.pk if run else None,
    )


def _why_left(named: DeployedEndpoint | None, seen: MirroredService) -> str:
    if named is None:
        return "no endpoint uses it"
    if named.service_name != seen.service_name:
        return f"it is a copy: its label names the endpoint {named}"
    if named.model_deleted:
        return "the version of its endpoint was deleted"
    return "its endpoint is inactive"


def compare_endpoint(
    endpoint: DeployedEndpoint,
    seen: MirroredService | None,
    run: TrainingRun | None,
    traffic: Sequence[EndpointTraffic] = (),
    *,
    owner: str,
    change: Change | None = None,
    other_files: bool = False,
) -> Discrepancy | None:
    """Compare an active endpoint with the service of its name; None when they agree.

    `run` is the version that its label names, and `other_files` whether it was given the files of
    another: people write labels too. `traffic` is what requests to the service reach. Other files
    or settings under the recorded label are a `change`.
    """
    if seen is None:
        return _of_endpoint(
            FindingKind.SERVICE_MISSING,
            endpoint,
            f"{endpoint} is active, but Cloud Run does not list it",
            END_ENDPOINT,
            {"cloud_run_listing": "complete, without this service"},
            endpoint.run,
        )
    theirs = seen.theirs or seen.owner not in ("", owner)
    if theirs or seen.owner != owner or seen.endpoint_uid != endpoint.uid.hex:
        return _of_endpoint(
            FindingKind.SERVICE_LABELS_CHANGED,
            endpoint,
            f"{endpoint} on Cloud Run does not carry the labels of this endpoint",
            FOREIGN_SERVICE if theirs else RELABEL,
            _said_to(endpoint, seen, run, traffic),
            None if theirs else endpoint.run,
        )
    if endpoint.run and seen.run_uid == endpoint.run.uid.hex:
        return _compare_traffic(endpoint, seen, traffic) or _compare_change(endpoint, seen, change)
    known = run if run and run.registered_model_id == endpoint.registered_model_id else None
    safe = known if known and known.registration == Registration.REGISTERED else None
    named = version_name(known) if known else "none of our versions"
    serves = f"serves {named}"
    if safe and other_files:
        safe, serves = None, f"has the label of {named} and the files of another"
    elif safe and {row.revision for row in traffic if row.percent} - {seen.newest_revision}:
        safe, serves = None, f"has a revision of {named} without all the traffic"
    return _of_endpoint(
        FindingKind.SERVICE_MISMATCH,
        endpoint,
        f"{endpoint} {serves}, but its endpoint records {_recorded(endpoint)}",
        RECORD_SERVED if safe else REDEPLOY,
        _said_to(endpoint, seen, run, traffic),
        safe,
    )


def _compare_traffic(
    endpoint: DeployedEndpoint, seen: MirroredService, traffic: Sequence[EndpointTraffic]
) -> Discrepancy | None:
    """Requests must go to the newest revision, to the newest one that became ready, or to the one
    that we saw serve the version."""
    expected = {seen.newest_revision, seen.ready_revision, endpoint.revision}
    unexpected = sorted({row.revision for row in traffic} - expected)
    if not unexpected:
        return None
    return _of_endpoint(
        FindingKind.SERVICE_MISMATCH,
        endpoint,
        f"{endpoint} sends requests to {', '.join(unexpected)}, "
        f"but its endpoint records {_recorded(endpoint)}",
        SEND_TRAFFIC,
        _evidence(seen, traffic),
        None,
    )


def _compare_change(
    endpoint: DeployedEndpoint, seen: MirroredService, change: Change | None
) -> Discrepancy | None:
    if change is None or not change.words:
        return None
    title = f"{endpoint} was changed on Cloud Run: {'; '.join(change.words)}"
    if change.serves:
        title = f"{endpoint} was given the files of {version_name(change.serves)} on Cloud Run"
    return _of_endpoint(
        FindingKind.SERVICE_CHANGED,
        endpoint,
        title,
        PUT_BACK if change.no_take_over else TAKE_OR_PUT_BACK,
        {
            "changed": list(change.words),
            "since_revision": seen.newest_revision,
            "our_revision": endpoint.revision,
            "last_changed_by": seen.changed_by,
            "last_changed_at": _time(seen.changed_at),
            "url": seen.uri,
            "serving_revisions": seen.serving_revisions,
            **({"no_take_over": change.no_take_over} if change.no_take_over else {}),
        },
        change.serves or endpoint.run,
    )


def _time(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""


def _recorded(endpoint: DeployedEndpoint) -> str:
    return version_name(endpoint.run) if endpoint.run else ""


def _of_endpoint(
    kind: Kind,
    endpoint: DeployedEndpoint,
    title: str,
    repair: str,
    said: dict[str, Any],
    run: TrainingRun | None,
) -> Discrepancy:
    return Discrepancy(
        kind=kind,
        subject=service_subject(endpoint.service_name),
        title=title,
        repair=repair,
        evidence={
            "service_name": endpoint.service_name,
            "model_name": endpoint.registered_model.model_name,
            "endpoint_serves": _recorded(endpoint),
            **said,
        },
        project_id=endpoint.project_id,
        lineage_id=endpoint.registered_model_id,
        run_id=run.pk if run else None,
    )


def _said_to(
    endpoint: DeployedEndpoint,
    seen: MirroredService,
    run: TrainingRun | None,
    traffic: Sequence[EndpointTraffic],
) -> dict[str, Any]:
    """Return the evidence without labels that name rows of another project (law 10)."""
    if run is None or run.project_id == endpoint.project_id:
        return _evidence(seen, traffic)
    return _evidence(seen, traffic) | {
        "cloud_run_label_mlp_endpoint": "",
        "cloud_run_label_mlp_run": "",
    }


def _evidence(seen: MirroredService, traffic: Sequence[EndpointTraffic] = ()) -> dict[str, Any]:
    return {
        "service_name": seen.service_name,
        "url": seen.uri,
        "cloud_run_label_mlp_owner": seen.owner,
        "cloud_run_label_mlp_endpoint": seen.endpoint_uid,
        "cloud_run_label_mlp_run": seen.run_uid,
        "newest_revision": seen.newest_revision,
        **({"traffic": [str(row) for row in traffic]} if traffic else {}),
    }
