"""Adoption: a model that others created in Vertex AI becomes a registered model of a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteModel
from ml_platform.errors import (
    CloudAbsent,
    CloudRejected,
    CloudUnavailable,
    Conflict,
    Invalid,
)
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.manifest import ManifestOrigin
from ml_platform.models.registered_model import validate_model_name
from ml_platform.models.states import (
    EventKind,
    FindingStatus,
    ModelType,
    OperationKind,
    Registration,
    RunStatus,
)
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import end_findings, link_findings
from ml_platform.services.installation.identity import identity
from ml_platform.services.operations import worker
from ml_platform.services.operations.state import State
from ml_platform.services.operations.store import Actor, Subject, lineage_key, open_operation
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Continue, Next, Outcome, Step, Workflow
from ml_platform.services.registry.labels import INSTALLATION, OWNER, labels_for
from ml_platform.services.registry.lineages import claim_lineage, record_version, sync_version_cache
from ml_platform.services.registry.manifest import Taken, keep_manifest, take_manifest
from ml_platform.services.registry.verification import may_still_appear, read_versions
from ml_platform.services.repairs.unmanaged_models import (
    Managed,
    require_unclaimed,
    subject_of,
)
from ml_platform.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionState(State):
    """The request, and what the steps of an adoption hand on."""

    name: str = ""
    project: Any = None
    model_name: str = ""
    versions: tuple[Mapping[str, Any], ...] = ()
    location: str = ""
    """The resource name that Vertex AI gives the model."""
    runs: tuple[int, ...] = ()
    labeled: int = 0
    """How many of the runs have our labels in Vertex AI."""


def adopt_model(
    *, resource_name: str, project: Any, model_name: str, actor: Actor, now: datetime
) -> Operation:
    """Make a model in Vertex AI a lineage of `project`, and each of its versions a completed run.

    Its artifacts stay where they are. The platform never deletes them.

    :raises Invalid: the resource name or the model name is not valid.
    :raises Conflict: the project has a registered model of that name.
    :raises Managed: one of our versions points at it.
    :raises Busy: another operation holds the name or the model.
    """
    name = ModelName.parse(resource_name).bare
    try:
        validate_model_name(model_name)
    except ValidationError as error:
        raise Invalid(
            f"{model_name!r} cannot be a name here. {error.messages[0]}",
            advice="Adopt it under another name.",
        ) from error
    require_unclaimed(name)
    _require_free(project.pk, model_name)
    vertex_model = subject_of(name)
    with transaction.atomic():
        operation, _ = open_operation(
            workflow=WORKFLOW,
            subject=Subject(
                type=vertex_model.type,
                id=vertex_model.id,
                name=model_name,
                project_id=project.pk,
                lineage_key=lineage_key(project_id=project.pk, model_name=model_name),
                service_key=vertex_model.service_key,
            ),
            actor=actor,
            now=now,
            state=AdoptionState(name=str(name), project=project.pk, model_name=model_name),
        )
        link_findings(operation=operation, kinds=[FindingKind.UNMANAGED], subject=str(name))
        worker.enqueue(operation)
    return operation


def _require_free(project_id: Any, model_name: str) -> None:
    taken = RegisteredModel.objects.registered().filter(
        project_id=project_id, model_name=model_name
    )
    if taken.exists():
        raise Conflict(
            f"The project already has a registered model {model_name}.",
            code="name_taken",
            advice="Adopt it under another name.",
        )


# ---- the steps ---------------------------------------------------------------------------------


def _read(work: Work[AdoptionState]) -> Outcome:
    name = ModelName.parse(work.state.name)
    versions = read_versions(name)
    _require_no_owner(name, versions)
    work.state = replace(
        work.state,
        versions=tuple(_described(version) for version in versions),
        location=str(versions[0].name),
    )
    return Next(note=f"{counted(len(versions), 'version')}.")


def _require_no_owner(name: ModelName, versions: Sequence[RemoteModel]) -> None:
    us = identity()
    said = [(v.labels.get(OWNER, ""), v.labels.get(INSTALLATION, "")) for v in versions]
    if others := {owner or uid for owner, uid in said if us.is_another(owner, uid)}:
        raise Managed(f"{name} has the owner label of {', '.join(sorted(others))}.")


def _described(version: RemoteModel) -> dict[str, Any]:
    made = version.version_create_time or version.create_time
    return {
        "version": version.version,
        "aliases": sorted(version.aliases),
        "artifact_uri": version.artifact_uri,
        "made": made.isoformat() if made else "",
    }


def _record(work: Work[AdoptionState]) -> Outcome:
    return Next(
        note=f"Versions of {work.state.model_name} in our records.", change=partial(_adopt, work)
    )


def _adopt(work: Work[AdoptionState]) -> None:
    """Create the lineage and all its versions in one transaction."""
    state, name = work.state, ModelName.parse(work.state.location)
    require_unclaimed(name)
    _require_free(state.project, state.model_name)
    lineage = claim_lineage(
        project_id=state.project, model_name=state.model_name, model_type=ModelType.OTHER
    )
    first = lineage.next_version
    after = first + len(state.versions)
    RegisteredModel.objects.filter(pk=lineage.pk).update(next_version=after)
    runs = TrainingRun.objects.bulk_create(
        _run(lineage, name, first + position, version, work.clock())
        for position, version in enumerate(state.versions)
    )
    sync_version_cache(registered_model=lineage)
    for run in runs:
        record_version(
            EventKind.MODEL_REGISTERED,
            run=run,
            before=Registration.NONE,
            vertex_version=f"{name}@{run.vertex_model_version}",
            operation=work.operation,
        )
    work.state = replace(state, runs=tuple(run.pk for run in runs))
    Operation.objects.filter(pk=work.operation.pk).update(lineage=lineage)


def _run(
    lineage: RegisteredModel,
    name: ModelName,
    number: int,
    version: Mapping[str, Any],
    now: datetime,
) -> TrainingRun:
    made = datetime.fromisoformat(version["made"]) if version["made"] else now
    return TrainingRun(
        project_id=lineage.project_id,
        model_name=lineage.model_name,
        model_type=lineage.model_type,
        registered_model=lineage,
        status=RunStatus.COMPLETED,
        progress=100,
        registration=Registration.REGISTERED,
        version=number,
        vertex_model_resource_name=str(name),
        vertex_model_name=lineage.model_name,
        vertex_model_version=version["version"],
        registered_at=now,
        aliases=version["aliases"],
        parameters={"adopted_from": version["artifact_uri"]},
        created_at=made,
        finished_at=made,
    )


def _label(work: Work[AdoptionState]) -> Outcome:
    """Write our labels on one version after the other; a repetition changes nothing.

    An update replaces all labels, and others may have set some since the first step. They are read
    again here, so that only ours change (law 13).
    """
    done, runs = work.state.labeled, work.state.runs
    if done == len(runs):
        end = partial(end_findings, operation=work.operation, status=FindingStatus.REPAIRED)
        return Next(note=f"{counted(done, 'version')}.", change=partial(end, now=work.clock()))
    run = TrainingRun.objects.select_related("registered_model").get(pk=runs[done])
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    taken = _files(run)
    ours = labels_for(
        lineage=run.registered_model.uid if run.registered_model else None,
        run=run.uid,
        operation=work.operation.pk,
        digest=taken.digest if taken else "",
    )
    try:
        version = vertex.get_model(name)
    except CloudAbsent as absent:  # it was listed when it was recorded
        if poll := may_still_appear(absent, run.registered_at, now=work.clock()):
            return poll
        raise
    _require_no_owner(name, [version])
    vertex.update_model_labels(name, dict(version.labels) | ours)
    work.state = replace(work.state, labeled=done + 1)
    if taken is None:
        return Continue(note=f"{name}: its files could not be listed; a sweep tries again.")
    keep = partial(keep_manifest, run, taken, ManifestOrigin.ADOPTION, work.clock())
    return Continue(note=str(name), change=keep)


def _files(run: TrainingRun) -> Taken | None:
    """The files of an adopted version; None if they cannot be listed, which forbids no adoption."""
    try:
        return take_manifest(run.parameters["adopted_from"], needs="")
    except (Invalid, CloudAbsent, CloudUnavailable, CloudRejected):
        return None


WORKFLOW = Workflow(
    slug="adopt-model",
    kind=OperationKind.ADOPT,
    title="Adopt {}",
    past="adopted {}",
    state=AdoptionState,
    steps=(
        Step(name="read", title="Read its versions", run=_read, cancellable=True),
        Step(name="record", title="Record the lineage and its versions", run=_record),
        Step(name="label", title="Label the versions as ours", run=_label, probe="label"),
    ),
)
