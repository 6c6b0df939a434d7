"""Repairs of services: delete a leftover, end an endpoint without one, record what serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from django.db.models import Q

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Absent
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteService
from ml_platform.errors import CloudAbsent, Conflict, OutcomeUnknown, PlatformError
from ml_platform.models import DeployedEndpoint, Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import (
    EndpointState,
    FindingStatus,
    OperationKind,
    Registration,
    RunStatus,
)
from ml_platform.services.deployment.endpoint_state import record_serving, record_stopped
from ml_platform.services.findings.comparisons.services import service_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.installation import marker
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.operations.subjects import lineage_lock, subject_of_endpoint
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import ENDPOINT, RUN, are_ours, is_uid
from ml_platform.services.ownership.own_resources import is_own_service
from ml_platform.services.registry.verification import seconds_until_consistent
from ml_platform.services.serving.config import compare_service
from ml_platform.services.serving.others_changes import as_served
from ml_platform.services.serving.polling import (
    ServiceState,
    about_to_send,
    after_start,
    not_done,
    require_not_late,
    require_not_refused,
    require_ours,
    wait_for,
    with_traffic,
)

from .steps import CLOSE, RepairState, close, nothing_to_repair, open_repair, read, read_present


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverState(ServiceState):
    """What the deletion of a leftover service remembers."""

    endpoint: str = ""
    """The endpoint's uid, as the service's label had it when the sweep found it."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState(RepairState):
    """What the check of an endpoint's service remembers."""

    service: str = ""
    said: Mapping[str, str] = field(default_factory=dict)
    """The values of the endpoint's row before the repair."""


_read = partial(read, service="Cloud Run")
SERVICE_TYPE = "service"
"""Subject type of operations on a service of Cloud Run that no endpoint needs."""
LOOK_AT_LEFTOVER = "read_leftover"


def delete_leftover(
    *,
    finding: Finding,
    registered_model: RegisteredModel,
    actor: Actor,
    now: datetime,
) -> Operation:
    """Delete the service that the finding names: it has our label, and no endpoint needs it.

    :raises Busy: another operation holds the lineage or the service.
    """
    name = finding.evidence["service_name"]
    uid = finding.evidence["cloud_run_label_mlp_endpoint"]
    subject = Subject(
        type=SERVICE_TYPE,
        id=name,
        name=name,
        project_id=registered_model.project_id,
        lineage=registered_model,
        lineage_key=lineage_lock(registered_model),
        service_key=name,
    )
    return open_repair(
        workflow=LEFTOVER,
        subject=subject,
        state=LeftoverState(service=name, endpoint=uid),
        kinds=[FindingKind.LEFTOVER_SERVICE],
        about=service_subject(name),
        actor=actor,
        now=now,
    )


def look_at_service(*, endpoint: DeployedEndpoint, actor: Actor, now: datetime) -> Operation:
    """Read the service of an active endpoint, and record that it is gone or serves another version.

    Cloud Run is not changed.

    :raises Busy: another operation holds the lineage or the service.
    """
    return open_repair(
        workflow=CHECK,
        subject=subject_of_endpoint(endpoint),
        state=CheckState(service=endpoint.service_name),
        kinds=[FindingKind.SERVICE_MISSING, FindingKind.SERVICE_MISMATCH],
        about=service_subject(endpoint.service_name),
        actor=actor,
        now=now,
    )


# ---- leftovers ---------------------------------------------------------------------------------


def _read_leftover(work: Work[LeftoverState]) -> Outcome:
    """Read the service, its labels and our rows right before the deletion, and again after it."""
    answer = _read(lambda: cloud_run.get_service(work.state.service), sent=work.state.sent)
    if isinstance(answer, Absent):
        return Next(to="end_leftover", note=answer.reason)
    service = answer.value
    if reason := _why_kept(work, service):
        return Next(to="end_leftover", note=reason)
    ended = work.state.ended and work.state.etag == service.etag
    work.state = replace(work.state, ended=False)
    if ended:
        return Poll(note="Deleted, but Cloud Run still shows it.")
    require_not_refused(work)
    require_not_late(work)
    marker.require_ours(clock=work.clock)
    about_to_send(work, etag=service.etag, labels=dict(service.labels))
    return Next(note=f"{service.service_id} exists, has our labels, and no endpoint needs it.")


def _why_kept(work: Work[LeftoverState], service: RemoteService) -> str:
    uid = work.state.endpoint
    if not are_ours(service.labels) or service.labels.get(ENDPOINT, "") != uid:
        return f"{service.service_id} has other labels now, so it is not deleted."
    rows = Q(service_name=service.service_id)
    if is_uid(uid):
        rows |= Q(uid=uid)
    if row := DeployedEndpoint.objects.protecting().filter(rows).first():
        return f"The endpoint {row} is {row.get_state_display().lower()} now, so it is not deleted."
    named = DeployedEndpoint.objects.filter(uid=uid).first() if is_uid(uid) else None
    own = is_own_service(service.service_id, work.operation.lineage_id)
    if not (named.service_name == service.service_id if named else own):
        return f"{service.service_id} is a copy with another name, so it is not deleted."
    return ""


def _delete_leftover(work: Work[LeftoverState]) -> Outcome:
    try:
        started = cloud_run.delete_service(work.state.service, etag=work.state.etag)
    except OutcomeUnknown:
        raise
    except CloudAbsent as gone:
        return Next(to=LOOK_AT_LEFTOVER, note=str(gone))
    except PlatformError as error:
        raise not_done(work, error) from error
    return after_start(work, started, to=LOOK_AT_LEFTOVER)


def _end_leftover(work: Work[LeftoverState]) -> Outcome:
    status = FindingStatus.REPAIRED if work.state.sent else FindingStatus.GONE
    return close(work, status=status)


def _begin_again(work: Work[LeftoverState], error: PlatformError) -> None:
    """A retry of one that failed reads the service again."""
    work.retry_at = LOOK_AT_LEFTOVER


# ---- endpoints whose service is missing, or serves another version -----------------------------


def _look_at_service(work: Work[CheckState]) -> Outcome:
    endpoint = _endpoint(work)
    if not endpoint.is_active or endpoint.state != EndpointState.ACTIVE:
        state = endpoint.get_state_display().lower()
        return nothing_to_repair(work, f"{endpoint} is {state} now.")
    answer = _read(lambda: cloud_run.get_service(endpoint.service_name))
    if isinstance(answer, Absent):
        return _end_endpoint(work, endpoint, answer.reason)
    service = answer.value
    return with_traffic(work, _record_served(work, endpoint, service), service, endpoint)


def _end_endpoint(work: Work[CheckState], endpoint: DeployedEndpoint, reason: str) -> Outcome:
    """End the endpoint if the location can be listed.

    In a location that cannot be read, every service may seem to be missing (law 3).
    """
    if seconds := seconds_until_consistent(endpoint.deployed_at, now=work.clock()):
        return Poll(seconds=seconds, note=f"{reason} It is so new that it may still appear.")
    read_present(lambda: next(iter(cloud_run.list_services(page_size=1)), ()), service="Cloud Run")
    work.state = replace(work.state, said=_said(endpoint))
    change = partial(record_stopped, service=endpoint.service_name, operation=work.operation)
    return Next(to="close", note=f"{reason} {endpoint} no longer serves.", change=change)


def _record_served(
    work: Work[CheckState], endpoint: DeployedEndpoint, service: RemoteService
) -> Outcome:
    require_ours(service, endpoint)
    as_we_have_it = endpoint.run and service.labels.get(RUN) == endpoint.run.uid.hex
    known = {service.latest_created_revision, endpoint.revision}
    if as_we_have_it and known.issuperset(service.serving):
        return nothing_to_repair(work, f"{endpoint} serves {endpoint.run}, as recorded.")
    runs = endpoint.registered_model.training_runs.filter(registration=Registration.REGISTERED)
    given = service.env.get(ARTIFACT_ENV, "")
    named = (run for run in runs if run.uid.hex == service.labels.get(RUN))
    run = next((run for run in named if holds_files_of(run, given)), None)
    judged = compare_service(service)
    if judged.serves is None:
        return Poll(note=judged.reason)
    if run is None or as_we_have_it or not judged.serves:
        why = judged.reason if run else "Its label names no version whose files it has."
        sent = "Send the traffic to the latest revision on Cloud Run."
        advice = sent if as_we_have_it else "Redeploy the endpoint."
        text = f"{endpoint} serves another version. {why}"
        raise Conflict(text, code="service_mismatch", advice=advice)
    work.state = replace(work.state, said=_said(endpoint))
    change = partial(_serve, work, run.pk, service)
    return Next(to="close", note=f"{endpoint} serves {run}; recorded.", change=change)


def _serve(work: Work[CheckState], run_id: int, service: RemoteService) -> None:
    TrainingRun.objects.filter(pk=run_id).move(to=RunStatus.DEPLOYING)
    config, written = as_served(_endpoint(work), service.spec)
    record_serving(
        service=service.service_id,
        run_id=run_id,
        config=config,
        written=written,
        url=service.uri,
        revision=service.latest_ready_revision,
        now=work.clock(),
        operation=work.operation,
    )


def _said(endpoint: DeployedEndpoint) -> dict[str, str]:
    """Return the values of the record, for the history."""
    run = str(endpoint.run) if endpoint.run else ""
    return {"run": run, "url": endpoint.url, "revision": endpoint.revision}


def _endpoint(work: Work[CheckState]) -> DeployedEndpoint:
    rows = DeployedEndpoint.objects.select_related("registered_model", "run")
    return rows.get(service_name=work.state.service)


LEFTOVER = Workflow(
    slug="delete-leftover-service",
    kind=OperationKind.CLEANUP,
    title="Delete the leftover service {}",
    past="deleted the leftover service {}",
    state=LeftoverState,
    steps=(
        Step(
            name=LOOK_AT_LEFTOVER,
            title="Read the service and its labels",
            run=_read_leftover,
            cancellable=True,
        ),
        Step(
            name="delete_leftover",
            title="Delete the service",
            run=_delete_leftover,
            probe=LOOK_AT_LEFTOVER,
        ),
        Step(
            name="wait_for_leftover",
            title="Wait for Cloud Run",
            run=lambda work: wait_for(work, to=LOOK_AT_LEFTOVER),
            back_to=LOOK_AT_LEFTOVER,
        ),
        Step(name="end_leftover", title="End the finding", run=_end_leftover),
    ),
    on_failure=_begin_again,
)
CHECK = Workflow(
    slug="check-service",
    kind=OperationKind.REPAIR,
    title="Record what {} serves",
    past="recorded what {} serves",
    state=CheckState,
    steps=(
        Step(
            name="look_at_service",
            title="Read the service from Cloud Run",
            run=_look_at_service,
            cancellable=True,
        ),
        CLOSE,
    ),
)
