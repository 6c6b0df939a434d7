"""Delete a leftover service: it has our label, and no endpoint needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db.models import Q

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Absent
from ml_platform.cloud.types import RemoteService
from ml_platform.errors import CloudAbsent, OutcomeUnknown, PlatformError
from ml_platform.models import DeployedEndpoint, Finding, Operation, RegisteredModel
from ml_platform.models.states import FindingStatus, OperationKind
from ml_platform.services.findings.comparisons.services import service_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.installation import marker
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.operations.subjects import lineage_lock
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.labels import ENDPOINT, are_ours, is_uid
from ml_platform.services.ownership.own_resources import is_own_service
from ml_platform.services.serving.polling import (
    ServiceState,
    about_to_send,
    after_start,
    not_done,
    require_not_late,
    require_not_refused,
    wait_for,
)

from .steps import close, open_repair, read


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverState(ServiceState):
    """What the deletion of a leftover service remembers."""

    endpoint: str = ""
    """The endpoint's uid, as the service's label had it when the sweep found it."""
    labels: Mapping[str, str] = field(default_factory=dict)


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
        workflow=WORKFLOW,
        subject=subject,
        state=LeftoverState(service=name, endpoint=uid),
        kinds=[FindingKind.LEFTOVER_SERVICE],
        about=service_subject(name),
        actor=actor,
        now=now,
    )


def _read_leftover(work: Work[LeftoverState]) -> Outcome:
    """Read the service, its labels and our rows right before the deletion, and again after it."""
    name, sent = work.state.service, work.state.sent
    answer = read(lambda: cloud_run.get_service(name), service="Cloud Run", sent=sent)
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


WORKFLOW = Workflow(
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
