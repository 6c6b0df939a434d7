"""The steps of a deploy: verify, bring up, confirm who serves, record; and what its end changes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from ml_platform.cloud import cloud_run, storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.errors import CloudAbsent, Conflict, PlatformError
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.models.states import OperationKind
from ml_platform.services.access.rights import Right
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.registry.artifacts import run_prefix
from ml_platform.services.registry.verification import (
    find_artifacts,
    find_version,
    require_listing,
    seconds_until_consistent,
)

from . import rollout as bring_up
from .deployable import MODEL_NOT_FOUND, NotDeployable, require_deployable
from .endpoint_state import (
    abort_deploy,
    mark_deploying,
    mark_outcome_unknown,
    mark_version_lost,
    record_serving,
)
from .rollout import asked_run
from .service_polling import SENT, endpoint_of
from .serving import ServingConfig

_KEPT = ("run", "service", "config", "said", "cleared", SENT)
"""What a retry still needs to know, and what a stale pointer said."""


# ---- verify ------------------------------------------------------------------------------------


def _verify_model(work: Work) -> Outcome:
    """A retry begins here too, after all was stood down; so it marks again."""
    run = asked_run(work)
    require_deployable(run)
    try:
        model = find_version(run=run)
    except CloudAbsent as absent:
        if seconds := seconds_until_consistent(run.registered_at, now=work.clock()):
            return Poll(seconds=seconds, note=f"{absent} It is so new that it may yet show.")
        require_listing()
        work.data.update(established=True, said=str(absent))
        raise NotDeployable(
            MODEL_NOT_FOUND, code="model_not_found", advice="Deploy another version."
        ) from absent
    work.data["artifact_uri"] = model.artifact_uri
    work.data["marked"] = True
    config = ServingConfig.from_dict(work.data["config"])
    return Next(
        note=f"{model.pointer}",
        change=partial(
            mark_deploying,
            run_id=run.pk,
            service=work.data["service"],
            config=config,
            actor_id=work.operation.actor_id,
        ),
    )


def _verify_artifacts(work: Work) -> Outcome:
    run = asked_run(work)
    uri = work.data["artifact_uri"]
    try:
        found = find_artifacts(run=run, artifact_uri=uri)
    except CloudAbsent as absent:
        path = run.gcs_artifacts_path
        folder = ObjectPath.parse(path).folder if path else run_prefix(run=run)
        nothing_left = not storage.has_objects(folder.bucket, folder.key)
        work.data.update(established=True, said=str(absent), nothing_left=nothing_left)
        raise NotDeployable(
            f"Model artifacts not found in GCS at {uri}. They may have been deleted.",
            code="artifacts_not_found",
            advice="Restore them in the bucket, or deploy another version.",
        ) from absent
    return Next(note=found, change=partial(_point_at_artifacts, run, found))


def _point_at_artifacts(run: TrainingRun, uri: str) -> None:
    """Artifacts that were restored in the bucket are the run's again."""
    own = str(run_prefix(run=run))
    if not run.gcs_artifacts_path and uri.startswith(own):
        TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path=own)


# ---- record ------------------------------------------------------------------------------------


def _record(work: Work) -> Outcome:
    endpoint = endpoint_of(work)
    work.data.pop(SENT, None)
    work.data["recorded"] = True
    work.data["invokers_before"] = list(ServingConfig.from_dict(endpoint.config).invokers)
    return Next(
        note=work.data["url"],
        change=partial(
            record_serving,
            service=endpoint.service_name,
            run_id=work.data["run"],
            config=ServingConfig.from_dict(work.data["config"]),
            url=work.data["url"],
            revision=work.data["revision"],
            now=work.clock(),
            operation=work.operation,
        ),
    )


def _set_invokers(work: Work) -> Outcome:
    """Give and take only what our configurations name; grants made elsewhere stay."""
    endpoint = endpoint_of(work)
    config = ServingConfig.from_dict(work.data["config"])
    if not config.invokers and not work.data["invokers_before"]:
        return Next(note=_served(endpoint.service_name))
    if endpoint.run_id != work.data["run"] or endpoint.config != config.to_dict():
        raise Conflict(
            f"{endpoint.service_name} was changed since.",
            code="superseded",
            advice="Deploy it again.",
        )
    # Somebody's change in between is a CloudConflict: the engine takes this step again (law 13).
    invokers = cloud_run.change_invokers(
        endpoint.service_name, add=config.invokers, remove=work.data["invokers_before"]
    )
    return Next(note=_served(endpoint.service_name, invokers))


def _served(service: str, invokers: Collection[str] = ()) -> str:
    callers = ", ".join(sorted(invokers)) or "those whom the project's own rights let"
    return f"{service} serves it; it may be called by {callers}."


# ---- what its end changes ----------------------------------------------------------------------


def _failed(work: Work, error: PlatformError) -> None:
    if work.data.get("recorded"):
        DeployedEndpoint.objects.filter(service_name=work.data["service"]).update(error=str(error))
        return
    _clear_stale(work, error)
    _stand_down(work, str(error))
    _begin_again(work)


def _cancelled(work: Work) -> None:
    _stand_down(work, "")


def _clear_stale(work: Work, error: PlatformError) -> None:
    """Clear the pointer to what was established to be gone; the operation keeps what it said."""
    if not work.data.pop("established", False):
        return
    run = asked_run(work)
    if error.code == "model_not_found":
        work.data["cleared"] = f"{run.vertex_model_resource_name}@{run.vertex_model_version}"
        mark_version_lost(run_id=run.pk, operation=work.operation)
    elif work.data["nothing_left"]:
        work.data["cleared"] = run.gcs_artifacts_path
        TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path="")


def _stand_down(work: Work, error: str) -> None:
    if not work.data.get("marked"):
        return
    service, run_id = work.data["service"], work.data["run"]
    if SENT in work.data:
        mark_outcome_unknown(service=service, run_id=run_id, error=error)
        return
    abort_deploy(
        service=service,
        run_id=run_id,
        gone=bool(work.data.get("gone")),
        error=error,
        revision=work.data.get("revision", ""),
        operation=work.operation,
    )


def _begin_again(work: Work) -> None:
    """A retry starts from what was asked, for all may have changed."""
    data = {key: work.data[key] for key in _KEPT if key in work.data}
    data["tries"] = work.data.get("tries", 1) + 1
    Operation.objects.filter(pk=work.operation.pk).update(step=DEPLOY.steps[0].name, data=data)


DEPLOY = Workflow(
    slug="deploy-version",
    kind=OperationKind.DEPLOY,
    title="Deploy {}",
    past="deployed {}",
    right=Right.DEPLOY,
    steps=(
        Step(
            name="verify_model",
            title="Verify the model in Vertex AI",
            run=_verify_model,
            cancellable=True,
        ),
        Step(
            name="verify_artifacts",
            title="Verify the artifacts in GCS",
            run=_verify_artifacts,
            cancellable=True,
        ),
        Step(name="look", title="Look at the service on Cloud Run", run=bring_up.look),
        Step(name="upsert", title="Bring up a revision", run=bring_up.upsert, probe="look"),
        Step(name="wait", title="Wait for Cloud Run", run=bring_up.wait),
        Step(name="confirm", title="Confirm that the version serves", run=bring_up.confirm),
        Step(
            name="remove",
            title="Remove what did not come up",
            run=bring_up.remove,
            probe="confirm",
            optional=True,
        ),
        Step(
            name="wait_for_removal",
            title="Wait for Cloud Run",
            run=bring_up.wait_for_removal,
            optional=True,
        ),
        Step(name="give_up", title="End without success", run=bring_up.give_up, optional=True),
        Step(name="record", title="Record what serves", run=_record),
        Step(
            name="set_invokers",
            title="Set who may call it",
            run=_set_invokers,
            probe="set_invokers",
        ),
    ),
    on_failure=_failed,
    on_cancel=_cancelled,
)
REDEPLOY = replace(
    DEPLOY,
    slug="redeploy-endpoint",
    kind=OperationKind.REDEPLOY,
    title="Redeploy {}",
    past="redeployed {}",
)
ROLLBACK = replace(REDEPLOY, slug="rollback-endpoint", title="Roll back {}", past="rolled back {}")
"""The same program with other words: they differ in who chose the version."""
