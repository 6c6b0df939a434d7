"""The subjects of operations: a lineage, run or endpoint, each with its lineage's lock."""

from __future__ import annotations

from dataclasses import replace

from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun

from .store import Subject, lineage_key


def lineage_lock(lineage: RegisteredModel) -> str:
    """The key of the lock on this lineage."""
    return lineage_key(project_id=lineage.project_id, model_name=lineage.model_name)


def subject_of_lineage(lineage: RegisteredModel, *, name: str = "") -> Subject:
    """The subject of an operation on a lineage; `name` is the name of its part, if any."""
    return Subject(
        type="registeredmodel",
        id=str(lineage.pk),
        name=name or lineage.model_name,
        project_id=lineage.project_id,
        lineage=lineage,
        lineage_key=lineage_lock(lineage),
    )


def subject_of_run(run: TrainingRun) -> Subject:
    """The subject of an operation on a run."""
    return Subject(
        type="trainingrun",
        id=str(run.pk),
        name=str(run),
        project_id=run.project_id,
        lineage=run.registered_model,
        lineage_key=lineage_key(project_id=run.project_id, model_name=run.model_name),
    )


def run_of(operation: Operation) -> TrainingRun:
    """The run an operation is about.

    :raises Conflict: its row was deleted since.
    """
    runs = TrainingRun.objects.select_related("registered_model")
    run = runs.filter(pk=operation.subject_id).first()
    if run is None:
        raise Conflict(
            f"{operation.subject_name} was deleted.",
            code="run_deleted",
            advice="Train the model again.",
        )
    return run


def version_name(run: TrainingRun) -> str:
    """`chern v2`; a run without a version has its own name."""
    return f"{run.model_name} v{run.version}" if run.version else str(run)


def subject_of_version(run: TrainingRun) -> Subject:
    """The subject of an operation on a version."""
    return replace(subject_of_run(run), name=version_name(run))


def subject_of_endpoint(endpoint: DeployedEndpoint) -> Subject:
    """The subject of an operation on an endpoint; it locks the service too."""
    lineage = endpoint.registered_model
    return Subject(
        type="deployedendpoint",
        id=str(endpoint.pk),
        name=endpoint.service_name,
        project_id=endpoint.project_id,
        lineage=lineage,
        lineage_key=lineage_lock(lineage),
        service_key=endpoint.service_name,
    )
