"""Repairs of a service whose fields that are ours others changed: take it over, put ours back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from ml_platform.cloud import cloud_run
from ml_platform.cloud.types import RemoteService, ServiceSpec
from ml_platform.errors import CloudConflict, Conflict, PlatformError
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.models.states import EndpointState, FindingStatus, OperationKind, RunStatus
from ml_platform.services.artifacts.manifest import digest_of
from ml_platform.services.deployment.deploy import redeploy_endpoint
from ml_platform.services.deployment.endpoint_state import record_serving
from ml_platform.services.findings.comparisons.services import service_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_endpoint, version_name
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.ownership.labels import DIGEST, RUN
from ml_platform.services.serving.config import ServingConfig, compare_service
from ml_platform.services.serving.others_changes import version_of_files
from ml_platform.services.serving.our_fields import (
    Difference,
    NotExpressible,
    differences,
    lost_invokers,
    read_written,
    take_over,
    with_theirs,
)
from ml_platform.services.serving.polling import (
    ServiceState,
    about_to_send,
    after_start,
    endpoint_of,
    require_not_refused,
    require_ours,
    wait_for,
)

from .steps import close, open_repair, read_present


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOverState(ServiceState):
    """What the recording of a changed service remembers."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels of the version whose files it serves now, where that is another one."""
    said: tuple[str, ...] = ()
    """The fields that differed, each in words."""
    ended_as: str = FindingStatus.REPAIRED
    """The status of its finding at the end: `repaired`, or `gone` when nothing differed."""


def take_over_service(*, endpoint: DeployedEndpoint, actor: Actor, now: datetime) -> Operation:
    """Read the service of an endpoint, and record what others changed of our fields as ours.

    Cloud Run is not changed, except for the labels that name the version, if it got the files of
    another one.

    :raises Busy: another operation holds the lineage or the service.
    """
    return open_repair(
        workflow=WORKFLOW,
        subject=subject_of_endpoint(endpoint),
        state=TakeOverState(service=endpoint.service_name),
        kinds=[FindingKind.SERVICE_CHANGED],
        about=service_subject(endpoint.service_name),
        actor=actor,
        now=now,
    )


def put_back_service(*, endpoint: DeployedEndpoint, actor: Actor, now: datetime) -> Operation:
    """Deploy the version of an endpoint again with its configuration; its end closes the finding.

    :raises NotDeployable: the version cannot be deployed any more.
    :raises Busy: another operation holds the lineage or the service.
    """
    return redeploy_endpoint(endpoint=endpoint, actor=actor, now=now)


def _look(work: Work[TakeOverState]) -> Outcome:
    """Read the service; what is recorded is what this reading showed."""
    endpoint = endpoint_of(work)
    if not endpoint.is_active or endpoint.state != EndpointState.ACTIVE:
        state = endpoint.get_state_display().lower()
        return _nothing_to_repair(work, f"{endpoint} is {state} now.")
    service = read_present(
        lambda: cloud_run.get_service(work.state.service),
        service="Cloud Run",
        sent=work.state.sent,
    )
    require_ours(service, endpoint)
    require_not_refused(work)
    found = service.spec
    written = read_written(endpoint.written, revision=endpoint.revision)
    differing = tuple(differences(found, written)) if found and written else ()
    differing += _lost_invokers(work, ServingConfig.from_dict(endpoint.config))
    if found is None or written is None or not differing:
        return _nothing_to_repair(work, f"{endpoint} has our settings.")
    judged = compare_service(service, percent=service.percent_of_newest)
    if judged.serves is None:
        return Poll(note=judged.reason)
    if not judged.serves:
        raise _refused(endpoint, judged.reason)
    try:
        run = version_of_files(endpoint, found, differing)
        config = take_over(ServingConfig.from_dict(endpoint.config), found, differing)
    except NotExpressible as error:
        raise _refused(endpoint, str(error)) from error
    told = tuple(one.words for one in differing)
    work.state = replace(work.state, said=told, etag=service.etag)
    if service.labels.get(RUN) != run.uid.hex:
        return _about_to_relabel(work, run)
    work.state = replace(work.state, sent=False)
    return Next(
        to="close",
        note=f"Recorded as ours: {'; '.join(told)}.",
        change=partial(
            _record, work, run.pk, config, with_theirs(written, found, differing), service
        ),
    )


def _lost_invokers(work: Work[TakeOverState], config: ServingConfig) -> tuple[Difference, ...]:
    if not config.invokers:
        return ()
    name, sent = work.state.service, work.state.sent
    held = read_present(lambda: cloud_run.get_invokers(name), service="Cloud Run", sent=sent)
    return tuple(lost_invokers(config, held))


def _about_to_relabel(work: Work[TakeOverState], run: TrainingRun) -> Next:
    digest = digest_of(run)
    labels = {RUN: run.uid.hex, **({DIGEST: digest} if digest else {})}
    about_to_send(work, labels=labels)
    return Next(to="relabel", note=f"It has the files of {version_name(run)}.")


def _nothing_to_repair(work: Work[TakeOverState], note: str) -> Next:
    work.state = replace(work.state, ended_as=FindingStatus.GONE)
    return Next(to="close", note=note)


def _close(work: Work[TakeOverState]) -> Outcome:
    return close(work, status=FindingStatus(work.state.ended_as))


def _refused(endpoint: DeployedEndpoint, why: str) -> PlatformError:
    return Conflict(
        f"What others changed on {endpoint} cannot be taken over: {why}",
        code="no_take_over",
        advice="Put ours back, or change it on Cloud Run.",
    )


def _relabel(work: Work[TakeOverState]) -> Outcome:
    service = cloud_run.get_service(work.state.service)
    if service.etag != work.state.etag:
        raise CloudConflict(f"{service.service_id} has changed since it was read.")
    started = cloud_run.relabel_service(service, work.state.labels)
    return after_start(work, started, to="look")


def _record(
    work: Work[TakeOverState],
    run_id: int,
    config: ServingConfig,
    written: ServiceSpec,
    service: RemoteService,
) -> None:
    TrainingRun.objects.filter(pk=run_id).move(to=RunStatus.DEPLOYING)
    record_serving(
        service=service.service_id,
        run_id=run_id,
        config=config,
        url=service.uri,
        revision=service.latest_ready_revision,
        now=work.clock(),
        written=written,
        operation=work.operation,
        overwritten=work.state.said,
    )


WORKFLOW = Workflow(
    slug="take-over-service",
    kind=OperationKind.REPAIR,
    title="Take over what others changed on {}",
    past="took over what others changed on {}",
    state=TakeOverState,
    steps=(
        Step(name="look", title="Read the service", run=_look, cancellable=True),
        Step(
            name="relabel",
            title="Write the labels of the version",
            run=_relabel,
            probe="look",
            optional=True,
        ),
        Step(
            name="wait",
            title="Wait for Cloud Run",
            run=partial(wait_for, to="look"),
            back_to="look",
            optional=True,
        ),
        Step(name="close", title="End the finding", run=_close),
    ),
)
