"""Adoption: a model that others created in Vertex AI becomes a registered model of a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError

from ml_platform.cloud.names import ModelName
from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Operation, RegisteredModel
from ml_platform.models.database import atomic
from ml_platform.models.registry.registered_model import validate_model_name
from ml_platform.models.states import FindingStatus, ModelType, OperationKind
from ml_platform.services.deployment.adopt_service import open_service_adoption
from ml_platform.services.findings.endings import end_findings
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import link_findings
from ml_platform.services.operations import worker
from ml_platform.services.operations.store import Actor, Subject, lineage_key, open_operation
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.ownership.service_names import check_service_name
from ml_platform.services.registry.lineages import claim_lineage
from ml_platform.services.registry.verification import read_versions
from ml_platform.services.repairs.unmanaged_models import require_unclaimed, subject_of
from ml_platform.text import counted

from .adopted_versions import (
    AdoptedState,
    label_next,
    record_adopted,
    require_no_owner,
    what_is_unknown,
)
from .vertex_facts import described, proposed_name


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionState(AdoptedState):
    """The request, and what the steps of an adoption hand on."""

    project: int | str | None = None
    """Its key, for a worker of an earlier release; the operation has it too."""
    model_name: str = ""
    model_type: str = ""
    """As the user chose it; '' takes what the labels tell."""
    service: str = ""
    """The Cloud Run service to adopt too, '' for none."""
    description: str = ""


def adopt_model(
    *,
    resource_name: str,
    project: Any,
    model_name: str,
    actor: Actor,
    now: datetime,
    model_type: str = "",
    description: str = "",
    service_name: str = "",
    known: Mapping[str, Mapping[str, Any]] | None = None,
) -> Operation:
    """Make a model in Vertex AI a lineage of `project`, and each of its versions a completed run.

    Its artifacts stay where they are. The platform never deletes them. With `service_name` the
    service on Cloud Run that serves it is adopted next, by another operation. `known` has the ids
    of imported runs that are versions of it: see AdoptedState.

    :raises Invalid: the resource name, the model name or the name of the service is not valid.
    :raises Conflict: the project has a registered model of that name.
    :raises Managed: one of our versions points at it.
    :raises Busy: another operation holds the name or the model.
    """
    name = ModelName.parse(resource_name).bare
    _require_name(model_name)
    if service_name:
        check_service_name(service_name)
    require_unclaimed(name)
    _require_free(project.pk, model_name)
    vertex_model = subject_of(name)
    state = AdoptionState(
        name=str(name),
        project=project.pk if isinstance(project.pk, int) else str(project.pk),
        model_name=model_name,
        model_type=model_type,
        description=description,
        service=service_name,
        known=known or {},
    )
    with atomic():
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
            state=state,
        )
        link_findings(operation=operation, kinds=[FindingKind.UNMANAGED], subject=str(name))
        worker.enqueue(operation)
    return operation


def _require_name(model_name: str) -> None:
    try:
        validate_model_name(model_name)
    except ValidationError as error:
        raise Invalid(
            f"{model_name!r} cannot be a name here. {error.messages[0]}",
            code="bad_model_name",
            advice=f"Adopt it under another name, for example {proposed_name(model_name)}.",
        ) from error


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
    require_no_owner(name, versions)
    told = tuple(described(version) for version in versions)
    work.state = replace(
        work.state,
        versions=told,
        location=str(versions[0].name),
        description=work.state.description or versions[0].description,
        model_type=work.state.model_type or next((v["type"] for v in told if v["type"]), ""),
    )
    return Next(note=f"{counted(len(versions), 'version')}.")


def _record(work: Work[AdoptionState]) -> Outcome:
    return Next(
        note=f"Versions of {work.state.model_name} in our records.", change=partial(_adopt, work)
    )


def _adopt(work: Work[AdoptionState]) -> None:
    """Create the lineage and all its versions in one transaction."""
    state = work.state
    require_unclaimed(ModelName.parse(state.location))
    project_id = work.operation.project_id
    _require_free(project_id, state.model_name)
    lineage = claim_lineage(
        project_id=project_id,
        model_name=state.model_name,
        model_type=state.model_type or ModelType.OTHER,
    )
    if state.description and not lineage.description:
        lineage.description = state.description
        lineage.save(update_fields=["description"])
    record_adopted(work, lineage)
    if not state.model_type:
        everything = tuple(version["version"] for version in state.versions)
        work.state = replace(work.state, unknown={"type": everything, **work.state.unknown})


def _label(work: Work[AdoptionState]) -> Outcome:
    if outcome := label_next(work):
        return outcome
    many = counted(len(work.state.runs), "version")
    return Next(note=f"{many}. {what_is_unknown(work.state)}", change=partial(_end, work))


def _end(work: Work[AdoptionState]) -> None:
    end_findings(operation=work.operation, status=FindingStatus.REPAIRED, now=work.clock())
    if work.state.service:
        by = work.operation
        open_service_adoption(
            service_name=work.state.service,
            lineage=RegisteredModel.objects.get(training_runs=work.state.runs[0]),
            actor=Actor(label=by.actor_label, origin=by.origin, user_id=by.actor_id),
            now=work.clock(),
        )


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
