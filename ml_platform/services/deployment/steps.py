"""The steps of a deploy (verify, roll out, confirm, record) and the changes at its end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from functools import partial

from ml_platform.cloud import cloud_run
from ml_platform.errors import CloudAbsent, Conflict, PlatformError
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.models.states import OperationKind
from ml_platform.services.access.rights import Right
from ml_platform.services.artifacts.folders import run_prefix
from ml_platform.services.artifacts.manifest import Taken, take_manifest
from ml_platform.services.findings.comparisons.labels import note_foreign
from ml_platform.services.findings.comparisons.services import service_subject
from ml_platform.services.findings.endings import end_changed
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Poll, Step, Workflow
from ml_platform.services.registry.verification import (
    find_version,
    require_listing,
    seconds_until_consistent,
)
from ml_platform.services.serving.config import ServingConfig, service_spec
from ml_platform.services.serving.polling import endpoint_of, wait_for
from ml_platform.text import counted

from . import rollout as bring_up
from .deployable import require_deployable
from .endpoint_state import (
    abort_deploy,
    mark_deploying,
    mark_outcome_unknown,
    record_serving,
)
from .missing import artifacts_missing, clear_stale, model_missing, require_retryable
from .same_files import keep_first_manifest, require_same_files
from .state import DeployState, asked_run
from .traffic import give_traffic

FIRST_STEP = "verify_model"

# ---- verify ------------------------------------------------------------------------------------


def _verify_model(work: Work[DeployState]) -> Outcome:
    """A retry starts here too, after the failure removed the marks; so it sets them again."""
    run = asked_run(work)
    require_deployable(run)
    try:
        model = find_version(run=run)
    except CloudAbsent as absent:
        if seconds := seconds_until_consistent(run.registered_at, now=work.clock()):
            return Poll(seconds=seconds, note=f"{absent} It is so new that it may still appear.")
        require_listing()
        raise model_missing(work, run, absent) from absent
    work.state = replace(work.state, artifact_uri=model.artifact_uri, marked=True, changed=())
    config = ServingConfig.from_dict(work.state.config)
    return Next(
        note=f"{model.pointer}",
        change=partial(
            mark_deploying,
            run_id=run.pk,
            service=work.state.service,
            config=config,
            actor_id=work.operation.actor_id,
        ),
    )


def _verify_artifacts(work: Work[DeployState]) -> Outcome:
    run = asked_run(work)
    uri = work.state.artifact_uri
    try:
        taken = take_manifest(uri)
    except CloudAbsent as absent:
        raise artifacts_missing(work, run, absent) from absent
    require_same_files(run, taken)
    return Next(
        note=f"{counted(taken.count, 'file')} at {uri}, digest {taken.digest}",
        change=partial(_found_artifacts, run, taken, work.clock()),
    )


def _found_artifacts(run: TrainingRun, taken: Taken, now: datetime) -> None:
    """Record that the run has its artifacts, also after they were restored in the bucket."""
    keep_first_manifest(run, taken, now)
    own = str(run_prefix(run=run))
    if not run.gcs_artifacts_path and taken.folder.startswith(own):
        TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path=own)


# ---- record ------------------------------------------------------------------------------------


def _record(work: Work[DeployState]) -> Outcome:
    endpoint = endpoint_of(work)
    config = ServingConfig.from_dict(work.state.config)
    invokers = ServingConfig.from_dict(endpoint.config).invokers
    work.state = replace(work.state, sent=False, recorded=True, invokers_before=invokers)
    return Next(note=work.state.url, change=partial(_recorded, work, config))


def _recorded(work: Work[DeployState], config: ServingConfig) -> None:
    record_serving(
        service=work.state.service,
        run_id=work.state.run,
        config=config,
        written=service_spec(config, artifact_uri=work.state.artifact_uri, labels={}),
        url=work.state.url,
        revision=work.state.revision,
        now=work.clock(),
        operation=work.operation,
        overwritten=work.state.overwritten,
    )
    subject = service_subject(work.state.service)
    end_changed(subject=subject, operation=work.operation, now=work.clock())


def _set_invokers(work: Work[DeployState]) -> Outcome:
    """Change only grants that our configurations name; grants made elsewhere stay."""
    endpoint = endpoint_of(work)
    config = ServingConfig.from_dict(work.state.config)
    if not config.invokers and not work.state.invokers_before:
        return Next(note=_served(endpoint.service_name))
    if endpoint.run_id != work.state.run or endpoint.config != config.to_dict():
        raise Conflict(
            f"{endpoint.service_name} was changed since.",
            code="superseded",
            advice="Deploy it again.",
        )
    # A change by others in between is a CloudConflict; the engine takes this step again, because
    # grants that others made must stay (law 13).
    invokers = cloud_run.change_invokers(
        endpoint.service_name, add=config.invokers, remove=work.state.invokers_before
    )
    return Next(note=_served(endpoint.service_name, invokers))


def _served(service: str, invokers: Collection[str] = ()) -> str:
    callers = ", ".join(sorted(invokers)) or "members with permission in the project"
    return f"{service} serves it; it may be called by {callers}."


# ---- what its end changes ----------------------------------------------------------------------


def _failed(work: Work[DeployState], error: PlatformError) -> None:
    if work.state.recorded:
        DeployedEndpoint.objects.filter(service_name=work.state.service).update(error=str(error))
        return
    note_foreign(work, error)
    clear_stale(work, error)
    _stand_down(work, str(error))
    learnt = work.state  # a retry starts from the request, because all may have changed
    work.state = DeployState(
        run=learnt.run,
        service=learnt.service,
        config=learnt.config,
        said=learnt.said,
        cleared=learnt.cleared,
        changed=learnt.changed,
        registers=learnt.registers,
        sent=learnt.sent,
        tries=learnt.tries + 1,
        created=learnt.created,
        traffic=learnt.traffic,
        held_by=learnt.held_by,
        other=learnt.other,
    )
    work.retry_at = FIRST_STEP


def _stand_down(work: Work[DeployState], error: str) -> None:
    if not work.state.marked:
        return
    service, run_id = work.state.service, work.state.run
    if work.state.sent:
        mark_outcome_unknown(service=service, run_id=run_id, error=error)
        return
    abort_deploy(
        service=service,
        run_id=run_id,
        gone=work.state.gone,
        error=error,
        revision=work.state.revision,
        operation=work.operation,
    )


_WAIT = partial(wait_for, to="confirm")


def _workflow(slug: str, kind: OperationKind, title: str, past: str) -> Workflow:
    """Return one of the three workflows. They bring up a version in the same way and differ in how
    that version was chosen, which the request has done."""
    return Workflow(
        slug=slug,
        kind=kind,
        title=title,
        past=past,
        state=DeployState,
        right=Right.DEPLOY,
        steps=(*_verifying(), *_bringing_up(), *_ending()),
        on_failure=_failed,
        on_cancel=lambda work: _stand_down(work, ""),
        require_retryable=require_retryable,
    )


def _verifying() -> tuple[Step, ...]:
    return (
        Step(
            name=FIRST_STEP,
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
    )


def _bringing_up() -> tuple[Step, ...]:
    return (
        Step(name="look", title="Read the service on Cloud Run", run=bring_up.look),
        Step(name="upsert", title="Bring up a revision", run=bring_up.upsert, probe="look"),
        Step(name="wait", title="Wait for Cloud Run", run=_WAIT),
        Step(name="confirm", title="Confirm that the version serves", run=bring_up.confirm),
        Step(
            name="give_traffic",
            title="Give it its traffic",
            run=give_traffic,
            probe="confirm",
            optional=True,
        ),
        Step(name="wait_for_traffic", title="Wait for Cloud Run", run=_WAIT, optional=True),
        Step(
            name="remove",
            title="Delete the service that did not become ready",
            run=bring_up.remove,
            probe="confirm",
            optional=True,
        ),
        Step(
            name="wait_for_removal",
            title="Wait for Cloud Run",
            run=_WAIT,
            optional=True,
        ),
        Step(name="give_up", title="End without success", run=bring_up.give_up, optional=True),
    )


def _ending() -> tuple[Step, ...]:
    return (
        Step(name="record", title="Record what serves", run=_record),
        Step(
            name="set_invokers",
            title="Set who may call it",
            run=_set_invokers,
            probe="set_invokers",
        ),
    )


DEPLOY = _workflow("deploy-version", OperationKind.DEPLOY, "Deploy {}", "deployed {}")
REDEPLOY = _workflow("redeploy-endpoint", OperationKind.REDEPLOY, "Redeploy {}", "redeployed {}")
ROLLBACK = _workflow("rollback-endpoint", OperationKind.REDEPLOY, "Roll back {}", "rolled back {}")
