"""Delete models in Vertex AI that no record points at, when a person has chosen to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Present
from ml_platform.cloud.names import ModelName
from ml_platform.errors import CloudConflict, Conflict
from ml_platform.models import Finding, Operation, TrainingRun
from ml_platform.models.states import OperationKind
from ml_platform.services.findings.exclusions import VERTEX_MODEL
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.mirror.changes import unmirror_model
from ml_platform.services.operations.store import Actor, Subject
from ml_platform.services.operations.work import Work
from ml_platform.services.operations.workflow import Next, Outcome, Step, Workflow
from ml_platform.services.ownership.labels import OWNER
from ml_platform.services.registry.protection import require_all_unprotected
from ml_platform.services.registry.verification import read_versions
from ml_platform.text import counted

from .steps import (
    CLOSE,
    RepairState,
    open_repair,
    read,
    require_undeployed,
    start_deletion,
    wait_for_deletion,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmanagedState(RepairState):
    """What the steps hand on."""

    name: str = ""
    versions: tuple[Mapping[str, str], ...] = ()
    """What is deleted, for the history."""


# The deletion may have been sent before any of these reads.
_read = partial(read, service="Vertex AI", sent=True)


class Managed(Conflict):
    """A record points at the model, or it has the label of an installation."""

    code = "managed_model"
    advice = "Check the registry again to see which record uses it."


def delete_unmanaged_model(
    *, resource_name: str, actor: Actor, now: datetime, project_id: Any = None
) -> Operation:
    """Delete a model with all its versions from Vertex AI; its artifacts are left alone.

    `project_id` is that of its finding: users who see the finding also see the deletion.

    :raises Invalid: that is not the name of a model.
    :raises Managed: one of our versions points at it.
    :raises Busy: it is being adopted or deleted.
    """
    name = ModelName.parse(resource_name).bare
    require_unclaimed(name)
    found = Finding.objects.filter(kind=FindingKind.UNMANAGED, subject=str(name)).last()
    shown = (found and found.evidence.get("display_name")) or f"model {name.model_id}"
    return open_repair(
        workflow=WORKFLOW,
        subject=replace(subject_of(name), name=str(shown), project_id=project_id),
        state=UnmanagedState(name=str(name)),
        kinds=[FindingKind.UNMANAGED],
        about=str(name),
        actor=actor,
        now=now,
    )


def subject_of(name: ModelName) -> Subject:
    """Return the model as an operation's subject; its lock shares a column with services."""
    return Subject(
        type=VERTEX_MODEL,
        id=name.model_id,
        name=f"Vertex AI model {name.model_id}",
        service_key=f"models/{name.model_id}",
    )


def require_unclaimed(name: ModelName) -> None:
    """Refuse a model that one of our versions points at.

    :raises Managed: one does.
    """
    where = f"/locations/{name.location}/models/{name.model_id}"
    if TrainingRun.objects.versions().filter(vertex_model_resource_name__endswith=where).exists():
        # The message names no project: it may be another tenant's, who must stay unnamed (law 10).
        raise Managed(f"{name} is a registered version.")


# ---- the steps ---------------------------------------------------------------------------------


def _check(work: Work[UnmanagedState]) -> Outcome:
    """Check right before the deletion that no record has claimed it since."""
    name = ModelName.parse(work.state.name)
    answer = _read(lambda: read_versions(name))
    if isinstance(answer, Absent):
        return _gone(name, f"{name.model_id} is already gone.")
    require_unclaimed(name)
    if owners := {v.labels[OWNER] for v in answer.value if v.labels.get(OWNER)}:
        raise Managed(
            f"{name} has the owner label of {', '.join(sorted(owners))}.",
            advice="If no installation uses it, delete it in the Google Cloud console.",
        )
    require_undeployed(name, answer.value)
    require_all_unprotected(answer.value)
    versions = tuple({"version": v.version, "artifact_uri": v.artifact_uri} for v in answer.value)
    work.state = replace(work.state, versions=versions)
    return Next(note=f"{counted(len(versions), 'version')}, not registered.")


def _delete(work: Work[UnmanagedState]) -> Outcome:
    name = ModelName.parse(work.state.name)
    started = start_deletion(work, name)
    if started is None:
        return _gone(name, f"{name.model_id} is already gone.")
    return Next(note=f"Vertex AI deletes it, as operation {started.name.operation_id}.")


def _confirm(work: Work[UnmanagedState]) -> Outcome:
    name = ModelName.parse(work.state.name)
    if isinstance(_read(lambda: vertex.get_model(name)), Present):
        raise CloudConflict(
            f"{name} is still there after its deletion. {work.state.last_end}".strip()
        )
    return _gone(name, f"Vertex AI answers NOT_FOUND for {name.model_id}.")


def _gone(name: ModelName, note: str) -> Next:
    """Remove it from the mirror at once, so that the counts do not wait for the next sweep."""
    return Next(to="close", note=note, change=partial(unmirror_model, name=name))


WORKFLOW = Workflow(
    slug="delete-unmanaged-model",
    kind=OperationKind.REPAIR,
    title="Delete {} from Vertex AI",
    past="deleted {} from Vertex AI",
    state=UnmanagedState,
    steps=(
        Step(
            name="check_unmanaged",
            title="Read the owner of the model",
            run=_check,
            cancellable=True,
        ),
        Step(
            name="delete_model",
            title="Delete it from Vertex AI",
            run=_delete,
            probe="check_unmanaged",
        ),
        Step(
            name="wait_for_deletion",
            title="Wait for Vertex AI",
            run=lambda work: wait_for_deletion(work, to="confirm_gone", note=""),
        ),
        Step(name="confirm_gone", title="See that it is gone", run=_confirm),
        CLOSE,
    ),
)
