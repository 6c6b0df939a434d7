"""Undeploy: delete a service. Its version stays protected until Cloud Run confirms the deletion."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial

from ml_platform.cloud import cloud_run
from ml_platform.errors import CloudAbsent, Conflict, OutcomeUnknown, PlatformError
from ml_platform.models import DeployedEndpoint, Operation
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_row
from ml_platform.models.states import EventKind, OperationKind
from ml_platform.services.access.rights import Right
from ml_platform.services.installation import marker
from ml_platform.services.metrics.unread_days import keep_unread_days
from ml_platform.services.operations import worker
from ml_platform.services.operations.history import record, refusals_recorded
from ml_platform.services.operations.store import Actor, open_operation
from ml_platform.services.operations.subjects import subject_of_endpoint
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import (
    Next,
    Outcome,
    Poll,
    Step,
    Workflow,
)
from ml_platform.services.registry.verification import seconds_until_consistent
from ml_platform.services.serving.config import belongs_to
from ml_platform.services.serving.polling import (
    ServiceState,
    about_to_send,
    after_start,
    endpoint_of,
    not_done,
    require_not_late,
    require_not_refused,
    require_ours,
    tolerate_denied_after_send,
    wait_for,
    was_made_here,
    with_traffic,
)

from .deployable import UndeployFacts, require_removable, require_undeploy
from .endpoint_state import abort_undeploy, mark_undeploying, record_stopped


def undeploy_endpoint(
    *,
    endpoint: DeployedEndpoint,
    actor: Actor,
    now: datetime,
    reason: str = "",
    idempotency_key: str = "",
) -> Operation:
    """Open the undeploy of an endpoint; a service that no longer exists counts as done.

    :raises Conflict: it neither serves nor may serve.
    :raises Busy: another operation holds the lineage or the service.
    """
    subject = subject_of_endpoint(endpoint)
    refusals = refusals_recorded(
        workflow=WORKFLOW, subject=subject, actor=actor, now=now, reason=reason
    )
    with refusals, atomic():
        operation, new = open_operation(
            workflow=WORKFLOW,
            subject=subject,
            actor=actor,
            now=now,
            state=ServiceState(service=endpoint.service_name),
            reason=reason,
            idempotency_key=idempotency_key,
            request={"endpoint": endpoint.pk},
        )
        if new:
            row = lock_row(DeployedEndpoint.objects.filter(pk=endpoint.pk))
            require_undeploy(UndeployFacts(endpoint=row))
            mark_undeploying(service=endpoint.service_name)
            worker.enqueue(operation)
    return operation


def delete_endpoint(
    *, endpoint: DeployedEndpoint, actor: Actor, now: datetime, reason: str = ""
) -> Operation:
    """Delete the row of an endpoint that is stopped; its history stays in the operations.

    :raises NotStopped: it serves, or may serve.
    """
    subject = subject_of_endpoint(endpoint)
    refusals = refusals_recorded(
        workflow=DELETION, subject=subject, actor=actor, now=now, reason=reason
    )
    with refusals, atomic():
        row = DeployedEndpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
        if row is None:
            raise Conflict(
                f"{endpoint.service_name} is deleted already.",
                code="deleted",
                advice="Nothing is left to do.",
            )
        require_removable(row)
        served = f" It served {row.run} last." if row.run else ""
        keep_unread_days(row, now)
        row.delete()
        return record(
            workflow=DELETION,
            subject=subject,
            actor=actor,
            now=now,
            note=f"Deleted the endpoint {row.service_name}.{served}",
            reason=reason,
            event=EventKind.ENDPOINT_DELETED,
        )


# ---- the steps ---------------------------------------------------------------------------------


def _look(work: Work[ServiceState]) -> Outcome:
    """Check whether a service of this endpoint exists; ignore a foreign service of the same name.

    :raises ForeignService: it is the one we made, and its labels were changed.
    """
    endpoint = endpoint_of(work)
    try:
        with tolerate_denied_after_send(work.state.sent):
            service = cloud_run.get_service(endpoint.service_name)
    except CloudAbsent as absent:
        waits = (
            0.0
            if work.state.sent
            else seconds_until_consistent(endpoint.deployed_at, now=work.clock())
        )
        if waits:
            return Poll(seconds=waits, note=f"{absent} It is so new that it may still appear.")
        return Next(to="record", note=str(absent))
    if not belongs_to(service, endpoint.uid):
        with tolerate_denied_after_send(work.state.sent):
            if was_made_here(service, endpoint):
                require_ours(service, endpoint)
        note = f"{endpoint.service_name} belongs to another owner now; it was not changed."
        return Next(to="record", note=note)
    ended = work.state.ended and work.state.etag == service.etag
    work.state = replace(work.state, ended=False)
    if ended:
        return Poll(note="Deleted, but Cloud Run still shows it.")
    require_not_refused(work)
    require_not_late(work)
    marker.require_ours(clock=work.clock)
    about_to_send(work, etag=service.etag)
    found = Next(
        note=f"{endpoint.service_name} exists and is ours.",
        change=partial(mark_undeploying, service=endpoint.service_name),
    )
    return with_traffic(work, found, service, endpoint)


def _delete(work: Work[ServiceState]) -> Outcome:
    try:
        started = cloud_run.delete_service(work.state.service, etag=work.state.etag)
    except OutcomeUnknown:
        raise
    except CloudAbsent as gone:
        return Next(to="look", note=str(gone))
    except PlatformError as error:
        raise not_done(work, error) from error
    return after_start(work, started, to="look")


def _record(work: Work[ServiceState]) -> Outcome:
    work.state = replace(work.state, sent=False)
    return Next(
        note="It no longer serves.",
        change=partial(record_stopped, service=work.state.service, operation=work.operation),
    )


def _failed(work: Work[ServiceState], error: PlatformError) -> None:
    """Restore the state if no effect was sent. After one of unknown outcome the version stays
    protected as `undeploying`; a retry first reads the service."""
    service = work.state.service
    if work.state.sent:
        DeployedEndpoint.objects.filter(service_name=service).update(error=str(error))
    else:
        abort_undeploy(service=service, error=str(error))
    work.state = ServiceState(service=service, other=work.state.other)
    work.retry_at = "look"


WORKFLOW = Workflow(
    slug="undeploy-endpoint",
    kind=OperationKind.UNDEPLOY,
    title="Undeploy {}",
    past="undeployed {}",
    state=ServiceState,
    right=Right.DEPLOY,
    steps=(
        Step(name="look", title="Read the service on Cloud Run", run=_look),
        Step(name="delete", title="Delete the service", run=_delete, probe="look"),
        Step(name="wait", title="Wait for Cloud Run", run=partial(wait_for, to="look")),
        Step(name="record", title="Record that it is gone", run=_record),
    ),
    on_failure=_failed,
)
DELETION = Workflow(
    slug="delete-endpoint",
    kind=OperationKind.DELETE,
    title="Delete the endpoint {}",
    past="deleted the endpoint {}",
    right=Right.DELETE,
)
