"""Record what Cloud Run serves for an endpoint: another version, or nothing any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Absent
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteService
from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.models.states import EndpointState, OperationKind, Registration, RunStatus
from ml_platform.services.deployment.endpoint_state import record_serving, record_stopped
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import RUN
from ml_platform.services.registry.verification import seconds_until_consistent
from ml_platform.services.serving.config import compare_service
from ml_platform.services.serving.others_changes import as_served
from ml_platform.services.serving.polling import require_ours, with_traffic

from .steps import CLOSE, RepairState, nothing_to_repair, open_endpoint_repair, read, read_present


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState(RepairState):
    """What the check of an endpoint's service remembers."""

    service: str = ""
    said: Mapping[str, str] = field(default_factory=dict)
    """The values of the endpoint's row before the repair."""


def look_at_service(*, endpoint: DeployedEndpoint, actor: Actor, now: datetime) -> Operation:
    """Read the service of an active endpoint, and record that it is gone or serves another version.

    Cloud Run is not changed.

    :raises Busy: another operation holds the lineage or the service.
    """
    return open_endpoint_repair(
        endpoint,
        workflow=WORKFLOW,
        state=CheckState(service=endpoint.service_name),
        kinds=[FindingKind.SERVICE_MISSING, FindingKind.SERVICE_MISMATCH],
        actor=actor,
        now=now,
    )


def _look_at_service(work: Work[CheckState]) -> Outcome:
    endpoint = _endpoint(work)
    if not endpoint.is_active or endpoint.state != EndpointState.ACTIVE:
        state = endpoint.get_state_display().lower()
        return nothing_to_repair(work, f"{endpoint} is {state} now.")
    answer = read(lambda: cloud_run.get_service(endpoint.service_name), service="Cloud Run")
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


WORKFLOW = Workflow(
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
