"""Relabel: write our labels on a service of ours whose labels others replaced (law 3).

Nothing else is written: the labels of others, revisions and traffic stay (law 13).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Absent
from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import RemoteService
from ml_platform.errors import CloudAbsent, CloudConflict
from ml_platform.models import DeployedEndpoint, Operation
from ml_platform.models.states import FindingStatus, OperationKind
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.ownership.identification import holds_files_of
from ml_platform.services.ownership.labels import labels_for, other_owner, wrong_label
from ml_platform.services.serving.config import ServingConfig, belongs_to
from ml_platform.services.serving.polling import (
    ServiceState,
    after_start,
    endpoint_of,
    require_not_refused,
    wait_for,
)

from .steps import NotOurs, close, open_endpoint_repair, read

PREFIX = "mlp_"
"""With it all labels of ours begin."""
R = TypeVar("R", bound="RelabelState")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelabelState(ServiceState):
    """What a repair that writes labels of a service remembers."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """The labels to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLabelState(RelabelState):
    """What the relabeling of a service remembers: our labels, as the revision has them that we
    deployed."""

    written: bool = False
    """Our labels were, or may have been, written."""


def relabel_service(*, endpoint: DeployedEndpoint, actor: Actor, now: datetime) -> Operation:
    """Write our labels on the service of an endpoint, if it serves a revision that we made.

    :raises Busy: another operation holds the lineage or the service.
    """
    return open_endpoint_repair(
        endpoint,
        workflow=WORKFLOW,
        state=ServiceLabelState(service=endpoint.service_name),
        kinds=[FindingKind.SERVICE_LABELS_CHANGED],
        actor=actor,
        now=now,
    )


def _look_at_service(work: Work[ServiceLabelState]) -> Outcome:
    endpoint, written = endpoint_of(work), work.state.written
    answer = read(
        lambda: cloud_run.get_service(work.state.service), service="Cloud Run", sent=written
    )
    if isinstance(answer, Absent):
        return Next(to="end", note=answer.reason)
    service = answer.value
    if belongs_to(service, endpoint.uid):
        return Next(to="end", note=f"{service.service_id} has our labels.")
    if work.state.ended:
        raise CloudConflict(f"{service.service_id} does not show our labels.")
    require_not_refused(work)
    labels = _labels_of(service, endpoint)
    work.state = replace(work.state, etag=service.etag, labels=labels, written=True)
    return Next(
        to="relabel", note=f"{service.service_id} serves {endpoint.revision}, which is ours."
    )


def _labels_of(service: RemoteService, endpoint: DeployedEndpoint) -> dict[str, str]:
    """Our labels as the revision has them that we deployed: they cannot be changed there.

    :raises NotOurs: there is no such revision, or the service serves others too.
    """
    theirs = other_owner(service.labels)
    labels: Mapping[str, str] = {}
    with suppress(CloudAbsent):
        if endpoint.revision:
            labels = cloud_run.get_revision(service.service_id, endpoint.revision).labels
    run = endpoint.run
    wanted = labels_for(endpoint=endpoint.uid, run=run.uid if run else None)
    why = ""
    if theirs:
        why = f"it has the labels of {theirs}"
    elif wrong_label(labels, wanted):
        why = f"it has no revision {endpoint.revision} with our labels"
    elif other := sorted(set(service.serving) - {endpoint.revision, *_same(service, endpoint)}):
        why = f"it serves {', '.join(other)} too"
    if why:
        raise NotOurs(f"{service.service_id} is not proven to be this endpoint's: {why}.")
    return {key: value for key, value in labels.items() if key.startswith(PREFIX)}


def _same(service: RemoteService, endpoint: DeployedEndpoint) -> set[str]:
    """The newest revision, if it has the image and the model that we deployed: whoever replaces
    the labels of the template makes one."""
    image = ServingConfig.from_dict(endpoint.config).with_image().image
    run = endpoint.run
    same = run and holds_files_of(run, service.env.get(ARTIFACT_ENV, "")) and service.image == image
    return {service.latest_created_revision} if same else set()


def write_labels(work: Work[R]) -> Outcome:
    """Write the labels on the service, if it is as it was read."""
    service = cloud_run.get_service(work.state.service)
    if service.etag != work.state.etag:
        raise CloudConflict(f"{service.service_id} has changed since it was read.")
    started = cloud_run.relabel_service(service, work.state.labels)
    return after_start(work, started, to="look")


def _end(work: Work[ServiceLabelState]) -> Outcome:
    return close(work, status=FindingStatus.REPAIRED if work.state.written else FindingStatus.GONE)


WORKFLOW = Workflow(
    slug="relabel-service",
    kind=OperationKind.REPAIR,
    title="Relabel the service {}",
    past="relabeled the service {}",
    state=ServiceLabelState,
    steps=(
        Step(
            name="look",
            title="Read the service and its revisions",
            run=_look_at_service,
            cancellable=True,
        ),
        Step(name="relabel", title="Write our labels", run=write_labels, probe="look"),
        Step(
            name="wait",
            title="Wait for Cloud Run",
            run=partial(wait_for, to="look"),
            back_to="look",
        ),
        Step(name="end", title="End the finding", run=_end),
    ),
)
