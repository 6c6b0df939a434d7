"""A deploy whose model or artifacts are gone: what it clears, says, and offers instead (law 4)."""

from __future__ import annotations

from dataclasses import replace

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.answers import Absent, Present, ask
from ml_platform.cloud.names import ModelName, ObjectPath
from ml_platform.errors import CloudAbsent, PlatformError
from ml_platform.models import Operation, TrainingRun
from ml_platform.services.artifacts.folders import run_prefix
from ml_platform.services.findings.endings import end_pointer
from ml_platform.services.mirror.brake import require_believed
from ml_platform.services.mirror.changes import unmirror_artifacts, unmirror_model
from ml_platform.services.operations.subjects import version_name
from ml_platform.services.operations.work import Work
from ml_platform.services.registry.verification import verify_gcs_artifacts_exist

from .deployable import MODEL_NOT_FOUND, NotDeployable, require_deployable
from .endpoint_state import mark_version_lost
from .state import DeployState, asked_run


def model_missing(work: Work[DeployState], run: TrainingRun, absent: CloudAbsent) -> NotDeployable:
    """Note that Vertex AI does not have the version; returns the error that tells what follows."""
    name = ModelName.parse(run.vertex_model_resource_name)
    whole = isinstance(ask(lambda: vertex.get_model(name)), Absent)
    registers = _may_register(run)
    changed = _what_is_cleared(run, name)
    work.state = replace(
        work.state,
        established=True,
        said=str(absent),
        model_gone=whole,
        changed=(changed,),
        registers=registers,
    )
    if registers:
        instead = f"Its files are in Cloud Storage: register run {run.pk} again"
    else:
        instead = "Train the model again"
    return NotDeployable(
        f"{MODEL_NOT_FOUND} {changed}",
        code="model_not_found",
        advice=f"{instead}, or deploy another version.",
    )


def _may_register(run: TrainingRun) -> bool:
    """Whether the files are there that a registration needs; an adopted version has none here."""
    found = bool(run.gcs_artifacts_path) and verify_gcs_artifacts_exist(run=run)
    return isinstance(found, Present)


def _what_is_cleared(run: TrainingRun, name: ModelName) -> str:
    lineage = run.registered_model
    last = lineage is not None and lineage.total_versions == 1
    also = f", its last one, so {run.model_name} is no registered model now" if last else ""
    return (
        f"{version_name(run)} is not registered any more{also}; the history keeps its pointer "
        f"{name.model_id}@{run.vertex_model_version}."
    )


def artifacts_missing(
    work: Work[DeployState], run: TrainingRun, absent: CloudAbsent
) -> NotDeployable:
    """Note that the version has no saved model; returns the error that tells what follows.

    :raises PlaneShrunk: Cloud Storage suddenly lacks folders, so its absence proves nothing.
    """
    require_believed("gcs")
    path = run.gcs_artifacts_path
    folder = ObjectPath.parse(path).folder if path else run_prefix(run=run)
    nothing_left = not storage.has_objects(folder.bucket, folder.key)
    cleared = f"Nothing is left in {path}, so the run points at no files now."
    changed = (cleared,) if nothing_left and path else ()
    work.state = replace(
        work.state,
        established=True,
        said=str(absent),
        nothing_left=nothing_left,
        changed=changed,
    )
    gone = f"Model artifacts not found in GCS at {work.state.artifact_uri}."
    return NotDeployable(
        " ".join((gone, "They may have been deleted.", *changed)),
        code="artifacts_not_found",
        advice="Restore them in the bucket and retry, train the model again, or deploy another "
        "version.",
    )


def clear_stale(work: Work[DeployState], error: PlatformError) -> None:
    """Clear, in the transaction that ends the deploy, the pointer to what is known to be gone.

    The mirror follows, and the finding about the pointer ends, so that no count waits for a sweep.
    """
    if not work.state.established:
        return
    run = asked_run(work)
    if error.code == "model_not_found":
        name = run.vertex_model_resource_name
        work.state = replace(work.state, cleared=f"{name}@{run.vertex_model_version}")
        mark_version_lost(run_id=run.pk, operation=work.operation)
        if work.state.model_gone:
            unmirror_model(name=ModelName.parse(name))
        end_pointer(
            lineage_id=run.registered_model_id,
            subject=name,
            operation=work.operation,
            now=work.clock(),
        )
    elif work.state.nothing_left:
        work.state = replace(work.state, cleared=run.gcs_artifacts_path)
        TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path="")
        unmirror_artifacts(prefix=run.gcs_artifacts_path)


def require_retryable(operation: Operation) -> None:
    """Check that the version can still be deployed: without its model a retry only fails again.

    :raises NotDeployable: it cannot; the advice says what can be done instead.
    """
    asked = DeployState.load(operation.data).run
    run = TrainingRun.objects.filter(pk=asked).first()
    if run is None:
        raise NotDeployable(
            "The run of this version was deleted.",
            code="run_deleted",
            advice="Train the model again.",
        )
    require_deployable(run)
