"""Endpoints: deploy a version, deploy again, roll back, undeploy, delete the record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from ml_platform import kpis
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.services.access.rights import Right
from ml_platform.services.deployment import deploy as deployment
from ml_platform.services.deployment import steps as deploy_steps
from ml_platform.services.deployment import undeploy as undeployment
from ml_platform.services.deployment.deployable import (
    NEVER_SERVED,
    NO_PREVIOUS,
    DeployFacts,
    RestoreFacts,
    UndeployFacts,
    choose_endpoint,
    require_deploy,
    require_removable,
    require_undeploy,
    version_in,
    with_differences,
)
from ml_platform.services.operations.locks import Locks, read_locks
from ml_platform.services.operations.store import Subject
from ml_platform.services.operations.subjects import (
    subject_of_endpoint,
    subject_of_lineage,
    subject_of_version,
)
from ml_platform.services.operations.workflow import Workflow
from ml_platform.services.registry.registry_state import RegistryVerdict, verdict_of
from ml_platform.services.serving.config import ServingConfig

from .action import Action
from .caller import Caller
from .models import find_model, find_run, newest_of, version_of

if TYPE_CHECKING:
    from .inputs import DeployIn, DeployModelIn, RestoreIn


ENDPOINTS = DeployedEndpoint.objects.select_related(
    "project", "registered_model", "run", "intended_run", "previous_run"
)


def find_endpoint(caller: Caller, key: object) -> DeployedEndpoint:
    """The endpoint of that key."""
    return caller.find(with_differences(ENDPOINTS), key)


# ---- the facts of a deploy -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """The facts of a deploy besides its own rows: the newest sweep and the locks of operations."""

    unread: str
    """Why the newest sweep did not read Vertex AI, '' when it did."""
    locks: Locks
    artifacts_unread: str = ""
    """The same for the artifacts in Cloud Storage."""
    fresh_since: datetime | None = None
    """Before when an answer of Vertex AI is too old."""
    serving_unread: str = ""
    """Why the newest sweep does not say what the endpoints serve, '' when it does."""
    endpoints_unread: str = ""
    """Why the newest sweep did not read the endpoints of Vertex AI."""
    began_at: datetime | None = None
    """When the last complete reading of Vertex AI began."""

    @classmethod
    def of(cls, reading: kpis.VertexReading, locks: Locks) -> Self:
        """The facts of that reading and these locks."""
        return cls(
            reading.unread,
            locks,
            reading.artifacts_unread,
            reading.fresh_since,
            reading.serving_unread,
            reading.endpoints_unread,
            reading.began_at,
        )

    def verdict(self, lineage: RegisteredModel) -> RegistryVerdict:
        """Whether the model is in Vertex AI, by the newest sweeps."""
        return verdict_of(lineage, self.unread, self.fresh_since, self.began_at)

    def deploy(
        self,
        lineage: RegisteredModel | None,
        run: TrainingRun | None,
        target: DeployedEndpoint | None,
        config: ServingConfig | None = None,
    ) -> DeployFacts:
        """The facts of one deploy."""
        missing = lineage is not None and self.verdict(lineage).missing
        return DeployFacts(
            lineage=lineage,
            run=run,
            target=target,
            missing=missing,
            locks=self.locks,
            config=config,
        )

    def restore(
        self,
        endpoint: DeployedEndpoint,
        run: TrainingRun | None,
        config: ServingConfig | None = None,
        lacks: tuple[str, str, str] = NEVER_SERVED,
    ) -> RestoreFacts:
        """The facts of a deploy of what an endpoint served."""
        return RestoreFacts(
            lineage=endpoint.registered_model,
            run=run,
            target=endpoint,
            missing=self.verdict(endpoint.registered_model).missing,
            locks=self.locks,
            config=config,
            lacks=lacks,
        )


def read_known(lineages: Iterable[RegisteredModel], services: Iterable[str]) -> Known:
    """The newest sweep and the locks of these models and services; two statements."""
    return Known.of(kpis.vertex_reading(), read_locks(lineages, services))


def _of_runs(
    runs: Sequence[TrainingRun], given: DeployIn | None, caller: Caller
) -> list[DeployFacts]:
    lineages = [run.registered_model for run in runs if run.registered_model]
    by_model: dict[int | None, list[DeployedEndpoint]] = {}
    rows = with_differences(DeployedEndpoint.objects.filter(registered_model__in=lineages))
    for endpoint in rows.order_by("pk"):
        by_model.setdefault(endpoint.registered_model_id, []).append(endpoint)
    targets = [_target(given, by_model.get(run.registered_model_id, ()), caller) for run in runs]
    services = [target.service_name for target in targets if target]
    known = read_known(lineages, [*services, given.service_name if given else ""])
    return [
        known.deploy(run.registered_model, run, target, _config(given, target))
        for run, target in zip(runs, targets, strict=True)
    ]


def _target(
    given: DeployIn | None, endpoints: Iterable[DeployedEndpoint], caller: Caller
) -> DeployedEndpoint | None:
    """The endpoint that the input names by id or service; else the model's own."""
    if given is not None and isinstance(given.endpoint, int):
        return find_endpoint(caller, given.endpoint)
    if given is not None and given.service_name:
        named = DeployedEndpoint.objects.filter(service_name=given.service_name)
        return with_differences(named).first()
    return choose_endpoint(endpoints)


def _config(
    given: DeployIn | RestoreIn | None, target: DeployedEndpoint | None
) -> ServingConfig | None:
    """The requested settings on top of those of the named endpoint; None if none are requested."""
    if given is None or given.config is None:
        return None
    named = isinstance(getattr(given, "endpoint", 0), int)
    own = target.config if named and target else {}
    return ServingConfig.from_dict({**own, **given.config.model_dump(exclude_unset=True)})


def _of_models(
    models: Sequence[RegisteredModel], given: DeployModelIn | None, caller: Caller
) -> list[DeployFacts]:
    facts = []
    for model in models:
        number = given.version if given else "newest"
        run = newest_of(model) if number == "newest" else version_of(model, number)
        known = Known("", Locks({}))
        facts += _of_runs([run], given, caller) if run else [known.deploy(model, None, None)]
    return facts


def _to_restore(
    endpoints: Sequence[DeployedEndpoint], given: RestoreIn | None, caller: Caller
) -> list[RestoreFacts]:
    known = _known_of(endpoints)
    chosen = find_run(caller, given.run) if given and given.run is not None else None
    return [known.restore(one, chosen or one.run, _config(given, one)) for one in endpoints]


def _to_roll_back(
    endpoints: Sequence[DeployedEndpoint], _: object, __: Caller
) -> list[RestoreFacts]:
    known = _known_of(endpoints)
    config = ServingConfig.from_dict
    return [
        known.restore(one, one.previous_run, config(one.previous_config), NO_PREVIOUS)
        for one in endpoints
    ]


def _to_undeploy(
    endpoints: Sequence[DeployedEndpoint], _: object, __: Caller
) -> list[UndeployFacts]:
    locks = _known_of(endpoints).locks
    return [UndeployFacts(endpoint=one, locks=locks) for one in endpoints]


def _known_of(endpoints: Sequence[DeployedEndpoint]) -> Known:
    lineages = [one.registered_model for one in endpoints]
    return read_known(lineages, [one.service_name for one in endpoints])


def _asked(given: Any, caller: Caller) -> dict[str, Any]:
    """The arguments that all these services take: actor, time, reason and idempotency key."""
    return {
        "actor": caller.actor,
        "now": caller.now(),
        "reason": getattr(given, "reason", ""),
        "idempotency_key": caller.key,
    }


def _deploy(facts: DeployFacts, given: DeployIn | None, caller: Caller) -> Operation:
    named = given is not None and isinstance(given.endpoint, int)
    return deployment.deploy_run(
        run=version_in(facts),
        endpoint=facts.target if named else None,
        service_name=given.service_name if given else "",
        config=facts.config,
        **_asked(given, caller),
    )


def _redeploy(facts: RestoreFacts, given: RestoreIn | None, caller: Caller) -> Operation:
    run = facts.run if given and given.run is not None else None
    return deployment.redeploy_endpoint(
        endpoint=facts.target, run=run, config=facts.config, **_asked(given, caller)
    )


def _delete(endpoint: DeployedEndpoint, given: Any, caller: Caller) -> Operation:
    asked = _asked(given, caller)
    del asked["idempotency_key"]  # a repeated request finds no endpoint
    return undeployment.delete_endpoint(endpoint=endpoint, **asked)


def _deploy_history(facts: DeployFacts) -> tuple[Workflow, Subject]:
    if facts.run is None and facts.lineage is not None:
        return deploy_steps.DEPLOY, subject_of_lineage(facts.lineage)
    return deploy_steps.DEPLOY, subject_of_version(version_in(facts))


DEPLOY: Action[TrainingRun, Operation] = Action(
    name="deploy-run",
    right=Right.DEPLOY,
    find=find_run,
    begins=True,
    facts=_of_runs,
    require=require_deploy,
    input="DeployIn",
    run=_deploy,
    history=_deploy_history,
)
DEPLOY_MODEL: Action[RegisteredModel, Operation] = Action(
    name="deploy-model",
    right=Right.DEPLOY,
    find=find_model,
    begins=True,
    facts=_of_models,
    require=require_deploy,
    input="DeployModelIn",
    run=_deploy,
    history=_deploy_history,
)
REDEPLOY: Action[DeployedEndpoint, Operation] = Action(
    name="redeploy",
    right=Right.DEPLOY,
    find=find_endpoint,
    begins=True,
    facts=_to_restore,
    require=require_deploy,
    input="RestoreIn",
    run=_redeploy,
    history=lambda facts: (deploy_steps.REDEPLOY, subject_of_endpoint(facts.target)),
)
ROLL_BACK: Action[DeployedEndpoint, Operation] = Action(
    name="rollback",
    right=Right.DEPLOY,
    find=find_endpoint,
    begins=True,
    facts=_to_roll_back,
    require=require_deploy,
    input="ReasonIn",
    run=lambda facts, given, caller: deployment.rollback_endpoint(
        endpoint=facts.target, **_asked(given, caller)
    ),
    history=lambda facts: (deploy_steps.ROLLBACK, subject_of_endpoint(facts.target)),
)
UNDEPLOY: Action[DeployedEndpoint, Operation] = Action(
    name="undeploy",
    right=Right.DEPLOY,
    find=find_endpoint,
    facts=_to_undeploy,
    require=require_undeploy,
    input="ReasonIn",
    run=lambda facts, given, caller: undeployment.undeploy_endpoint(
        endpoint=facts.endpoint, **_asked(given, caller)
    ),
    history=lambda facts: (undeployment.WORKFLOW, subject_of_endpoint(facts.endpoint)),
)
DELETE: Action[DeployedEndpoint, Operation] = Action(
    name="delete-endpoint",
    right=Right.DELETE,
    find=find_endpoint,
    require=require_removable,
    input="ReasonIn",
    run=_delete,
    history=lambda endpoint: (undeployment.DELETION, subject_of_endpoint(endpoint)),
)
ACTIONS: Sequence[Action[Any, Any]] = (DEPLOY, DEPLOY_MODEL, REDEPLOY, ROLL_BACK, UNDEPLOY, DELETE)
