"""Whether a deploy, an undeploy or a removal is allowed, decided from rows that are loaded.

Buttons, requests and workers use the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Concat

from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun
from ml_platform.models.states import (
    DEPLOYABLE_RUN_STATUSES,
    Approval,
    EndpointState,
    Registration,
)
from ml_platform.services.findings.comparisons.services import service_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import standing
from ml_platform.services.operations.locks import NO_LOCKS, Locks
from ml_platform.services.operations.subjects import version_name
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.serving.polling import ForeignService

MODEL_NOT_FOUND = "Model not found in Vertex AI Model Registry. It may have been deleted."


class NotDeployable(Conflict):
    """The run or the endpoint cannot be deployed in its present state."""

    code = "not_deployable"


class NotStopped(Conflict):
    """The endpoint serves, or may serve."""

    code = "endpoint_active"
    advice = "Undeploy it first."


NOT_TRAINED = ("{} has no version.", "not_registered", "Train and register it first.")
NEVER_SERVED = ("{} has served no version yet.", "never_served", "Choose the version to deploy.")
NO_PREVIOUS = (
    "{} has served no version before this one.",
    "no_previous_version",
    "Choose the version to deploy.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployFacts:
    """The facts that decide whether a deploy is allowed, and the requested configuration."""

    run: TrainingRun | None
    """The version to deploy; None where the model or the endpoint has none."""
    target: DeployedEndpoint | None
    """The target endpoint, read by `with_differences`; None makes a new one."""
    lineage: RegisteredModel | None = None
    """The lock on the model; None where the caller holds it already."""
    missing: bool = False
    """Whether two sweeps in a row did not find the model in Vertex AI."""
    locks: Locks = NO_LOCKS
    config: ServingConfig | None = None
    """The requested configuration; None keeps the endpoint's own."""
    lacks: tuple[str, str, str] = NOT_TRAINED
    """The error when there is no version: message, code and advice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFacts(DeployFacts):
    """The same for a deploy to an existing endpoint of a version that it served."""

    target: DeployedEndpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class UndeployFacts:
    """The facts that decide whether an undeploy or a removal is allowed."""

    endpoint: DeployedEndpoint
    locks: Locks = NO_LOCKS


def with_differences(rows: QuerySet[DeployedEndpoint]) -> QuerySet[DeployedEndpoint]:
    """The endpoints, each with `differs`: whether a sweep found that Cloud Run serves something
    else, or with other settings. A deploy of the same version is then allowed, because it restores
    the version. `changed_by_others` is the evidence of what others changed, or None."""
    subject = Concat(Value(service_subject("")), OuterRef("service_name"))
    found = standing().filter(subject=subject)
    changed = found.filter(kind=FindingKind.SERVICE_CHANGED)
    kinds = [FindingKind.SERVICE_MISMATCH, FindingKind.SERVICE_CHANGED]
    return rows.annotate(
        differs=Exists(found.filter(kind__in=kinds)),
        changed_by_others=Subquery(changed.values("evidence")[:1]),
    )


def told_overwritten(target: DeployedEndpoint) -> tuple[str, ...]:
    """What others changed of ours on the endpoint's service, as the newest sweep saw it; a deploy
    overwrites it, so it is told before (law 13). The endpoint is read by `with_differences`."""
    evidence = target.changed_by_others  # type: ignore[attr-defined]
    return tuple(evidence["changed"]) if evidence else ()


def choose_endpoint(endpoints: Iterable[DeployedEndpoint]) -> DeployedEndpoint | None:
    """The endpoint that a deploy uses when the request names none; None for a new service.

    It is the model's oldest endpoint whose version was not deleted.
    """
    usable = (endpoint for endpoint in endpoints if not endpoint.model_deleted)
    return min(usable, key=lambda endpoint: endpoint.pk, default=None)


def require_deploy(facts: DeployFacts) -> None:
    """Check that our rows allow the deploy; the worker checks Vertex AI and Cloud Run.

    :raises NotDeployable: the version or the endpoint cannot be deployed in its present state.
    :raises ForeignService: the endpoint of that name is another model's.
    :raises Busy: another operation holds the model or the service.
    """
    target = facts.target
    if target is not None and target.model_deleted:
        raise NotDeployable(
            "The model was deleted; this endpoint cannot be restored.",
            code="model_deleted",
            advice="Deploy another version without naming this endpoint.",
        )
    run = version_in(facts)
    require_deployable(run)
    if facts.missing:
        raise NotDeployable(
            "It is not in the Vertex AI Model Registry.",
            code="model_not_found",
            advice="Repair the finding, or deploy another version.",
        )
    if facts.lineage is not None:
        service = target.service_name if target else ""
        facts.locks.require_free(f"{run.model_name} v{run.version}", facts.lineage, service)
    if target is not None:
        _require_change(target, run, facts.config or ServingConfig.from_dict(target.config))


def version_in(facts: DeployFacts) -> TrainingRun:
    """The version to deploy.

    :raises NotDeployable: the model or the endpoint never had one.
    """
    if facts.run is None:
        message, code, advice = facts.lacks
        about = facts.target or facts.lineage
        raise NotDeployable(message.format(about), code=code, advice=advice)
    return facts.run


def _require_change(target: DeployedEndpoint, run: TrainingRun, config: ServingConfig) -> None:
    """Check that the endpoint is for the run's model and does not serve that version already."""
    if target.registered_model_id != run.registered_model_id:
        raise ForeignService(
            f"The service {target.service_name} belongs to another model.",
            advice="Choose another service name.",
        )
    same = ServingConfig.from_dict(target.config).with_image() == config.with_image()
    serving = (target.state, target.run_id) == (EndpointState.ACTIVE, run.pk)
    differs: bool = target.differs  # type: ignore[attr-defined] # `with_differences` reads it
    if serving and same and not differs:
        raise NotDeployable(
            f"{target.service_name} serves v{run.version} already.",
            code="already_deployed",
            advice="Deploy another version or another configuration.",
        )


_NO_VERSION = {
    Registration.NONE: ("It is not registered.", "not_registered", "Register it first."),
    Registration.DELETING: ("Its version is being deleted.", "deleting", "Deploy another version."),
    Registration.DELETED: (MODEL_NOT_FOUND, "model_not_found", "Deploy another version."),
    Registration.LOST: (
        MODEL_NOT_FOUND,
        "model_not_found",
        "Register this run again, train the model again, or deploy another version.",
    ),
}


def require_deployable(run: TrainingRun) -> None:
    """Check that the run is a version that can be deployed, one of `deployable()`.

    :raises NotDeployable: with the reason.
    """
    if run.status not in DEPLOYABLE_RUN_STATUSES:
        raise NotDeployable(
            f"{run} is {run.get_status_display().lower()}.",
            code="run_not_completed",
            advice="Only a run whose pipeline succeeded can be deployed.",
        )
    if run.registration != Registration.REGISTERED:
        message, code, advice = _NO_VERSION[Registration(run.registration)]
        raise NotDeployable(message, code=code, advice=advice)
    if not run.is_accepted:
        raise _not_accepted(run)


def _not_accepted(run: TrainingRun) -> NotDeployable:
    """What a version lacks that a person may still approve."""
    name = version_name(run)
    if run.approval == Approval.WITHDRAWN:
        reason = run.approval_reason.rstrip(".")
        return NotDeployable(
            f"The approval of {name} was withdrawn by {run.approval_by}: {reason}.",
            code="approval_withdrawn",
            advice="Deploy another version, or ask an administrator to approve it again.",
        )
    if run.is_blessed is None:
        return NotDeployable(
            f"{name} was not judged by an evaluator, and nobody approved it.",
            code="not_judged",
            advice="Check its metrics; an administrator may approve it with a reason.",
        )
    return NotDeployable(
        f"{name} was not blessed: its evaluator refused it, and nobody approved it.",
        code="not_blessed",
        advice="Check its metrics; an administrator may approve it with a reason.",
    )


def is_stopped(endpoint: DeployedEndpoint) -> bool:
    """Whether the endpoint neither serves nor may serve."""
    return endpoint.state == EndpointState.INACTIVE and not endpoint.is_active


def require_undeploy(facts: UndeployFacts) -> None:
    """Check that an endpoint can be undeployed. One that a failed deploy left `deploying` can be,
    because an undeploy reads what the service serves.

    :raises Conflict: it neither serves nor may serve.
    :raises Busy: another operation holds its model or its service.
    """
    endpoint = facts.endpoint
    if is_stopped(endpoint):
        raise Conflict(
            f"{endpoint.service_name} is not deployed.",
            code="not_deployed",
            advice="There is nothing to undeploy.",
        )
    facts.locks.require_free(
        endpoint.service_name, endpoint.registered_model, endpoint.service_name
    )


def require_removable(endpoint: DeployedEndpoint) -> None:
    """Check that the record of an endpoint can be deleted.

    :raises NotStopped: it serves, or may serve.
    """
    if not is_stopped(endpoint):
        state = endpoint.get_state_display().lower()
        raise NotStopped(f"{endpoint.service_name} is {state}; it cannot be deleted.")
