"""Lineages: the one way to create a RegisteredModel, and what changes when its versions end."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from django.db import IntegrityError
from django.db.models import F

from ml_platform.errors import Conflict
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_row, lock_rows
from ml_platform.models.states import (
    HOLDS_POINTER,
    EventKind,
    OperationKind,
    Registration,
    RegistryState,
)
from ml_platform.services.installation.identity import own_uid
from ml_platform.services.operations.store import lineage_key
from ml_platform.services.operations.subjects import subject_of_version
from ml_platform.services.operations.work import record_change


def lineage_uid(*, project_id: Any, model_name: str) -> uuid.UUID:
    """The uid that a lineage gets, derived from project and name.

    Every try to register the first version requests the same model id, and Vertex AI
    itself refuses the second one. Another installation with such a project and name gets another
    uid, and with it other ids at Google.
    """
    return own_uid(f"{project_id}:{model_name}")


def take_own_uid(*, run: TrainingRun) -> None:
    """Derive the uid of the run's lineage again, in the caller's transaction, if no model in Vertex
    AI can have an id of it yet.

    A release before there were installations derived it from the project and the name only, so
    another installation may have the same (law 7). A lineage that had a version keeps its uid, as
    one does of which an upload may still appear.
    """
    key: dict[str, Any] = {"project_id": run.project_id, "model_name": run.model_name}
    uid, unused = lineage_uid(**key), {"generation": 1, "total_versions": 0}
    rows = RegisteredModel.objects.filter(**key, **unused).exclude(uid=uid)
    if not rows.exists():
        return
    lineage = lock_row(RegisteredModel.objects.filter(**key))
    were = TrainingRun.objects.filter(registered_model=lineage)
    if not were.exclude(registration=Registration.NONE).exists() and not _was_sent(**key):
        rows.filter(pk=lineage.pk).update(uid=uid)


def _was_sent(*, project_id: Any, model_name: str) -> bool:
    """Whether a registration of the lineage has come to its upload."""
    about = Operation.objects.filter(
        kind=OperationKind.REGISTER,
        lineage_key=lineage_key(project_id=project_id, model_name=model_name),
    )
    histories = about.values_list("steps", flat=True)
    return any(entry.get("step") == "upload" for steps in histories for entry in steps)


def claim_lineage(*, project_id: Any, model_name: str, model_type: str) -> RegisteredModel:
    """Return the lineage of that name; create it if it does not exist.

    It is locked in the caller's transaction, so that no cleanup deletes it. Without a version it is
    not counted. Only registration, adoption and schedules call this, because a run that may fail
    creates no registered model (law 2).

    :raises Conflict: it is created and deleted by others at this moment.
    """
    found = RegisteredModel.objects.filter(project_id=project_id, model_name=model_name)
    with suppress(RegisteredModel.DoesNotExist):
        return lock_row(found)
    try:
        with atomic():
            return RegisteredModel.objects.create(
                project_id=project_id,
                model_name=model_name,
                model_type=model_type,
                uid=lineage_uid(project_id=project_id, model_name=model_name),
            )
    except IntegrityError as error:
        with suppress(RegisteredModel.DoesNotExist):
            return lock_row(found)
        raise Conflict(
            f"The model {model_name} was deleted a moment ago.",
            code="busy",
            advice="Nothing was changed; try again now.",
        ) from error


def lock_version(run_id: int) -> TrainingRun:
    """Lock a run, and before it its lineage and endpoints, in the caller's transaction."""
    run = TrainingRun.objects.filter(pk=run_id)
    lock_rows(RegisteredModel.objects.filter(pk__in=run.values("registered_model")))
    lock_rows(DeployedEndpoint.objects.filter(run=run_id))
    return lock_row(run)


def lock_lineage(lineage_id: int) -> RegisteredModel:
    """Lock a lineage, and after it its runs, in the caller's transaction."""
    lineage = lock_row(RegisteredModel.objects.filter(pk=lineage_id))
    lock_rows(TrainingRun.objects.filter(registered_model=lineage))
    return lineage


def lose_versions(*, lineage: RegisteredModel, operation: Operation | None = None) -> list[str]:
    """Record, in the caller's transaction, that the lineage's model is gone from Vertex AI.

    Its runs become `lost` and keep their last pointer, so that a model that reappears can be
    restored. The generation grows, because a Vertex id is never used for a second model (law 7).
    Returns the pointers that were cleared.
    """
    held = TrainingRun.objects.filter(registered_model=lineage, registration__in=HOLDS_POINTER)
    runs = held.select_related("registered_model")  # read below, behind the lock
    lock_lineage(lineage.pk)
    for run in runs:
        clear_pointer(run=run, registration=Registration.LOST, operation=operation)
    RegisteredModel.objects.filter(pk=lineage.pk).update(generation=F("generation") + 1)
    sync_version_cache(registered_model=lineage)
    return [run.last_vertex_version for run in runs]


def end_version(
    *, run: TrainingRun, registration: Registration, operation: Operation | None = None
) -> None:
    """Record, in the caller's transaction, that this version alone is gone from Vertex AI.

    After the last one the next model gets a new Vertex id, because an id is never used for a second
    model (law 7).
    """
    clear_pointer(run=run, registration=registration, operation=operation)
    if lineage := run.registered_model:
        sync_version_cache(registered_model=lineage)
    if lineage and not lineage.total_versions:
        RegisteredModel.objects.filter(pk=lineage.pk).update(generation=F("generation") + 1)


def clear_pointer(
    *, run: TrainingRun, registration: Registration, operation: Operation | None = None
) -> None:
    """Clear a run's pointer in the caller's transaction; `last_vertex_version` keeps its text."""
    changes: dict[str, Any] = {
        "last_vertex_version": f"{run.vertex_model_resource_name}@{run.vertex_model_version}",
        "registration": registration,
        "vertex_model_resource_name": "",
        "vertex_model_name": "",
        "vertex_model_version": "",
        "registered_at": None,
        "aliases": [],
    }
    lost = registration == Registration.LOST
    record_version(
        EventKind.VERSION_LOST if lost else EventKind.VERSION_DELETED,
        run=run,
        before=run.registration,
        vertex_version=changes["last_vertex_version"],
        operation=operation,
    )
    for name, value in changes.items():
        setattr(run, name, value)
    run.save(update_fields=[*changes, "updated_at"])


_AFTER = {
    EventKind.MODEL_REGISTERED: Registration.REGISTERED,
    EventKind.VERSION_RESTORED: Registration.REGISTERED,
    EventKind.VERSION_LOST: Registration.LOST,
    EventKind.VERSION_DELETED: Registration.DELETED,
}


def record_version(
    kind: EventKind,
    *,
    run: TrainingRun,
    before: str,
    vertex_version: str,
    operation: Operation | None,
) -> None:
    """Record, in the caller's transaction, that the version's registration changed."""
    record_change(
        kind,
        operation,
        **subject_of_version(run).columns,
        before={"registration": before},
        after={"registration": _AFTER[kind], "vertex_version": vertex_version},
    )


def sync_version_cache(*, registered_model: RegisteredModel) -> None:
    """Recount the lineage, in the caller's transaction; without a version it is unregistered.

    Then the result of the last sweep is cleared too: it does not describe a later model of that
    name.
    """
    versions = registered_model.training_runs.versions()
    latest = versions.order_by("-version").first()
    unchecked = {
        "registry_state": RegistryState.UNCHECKED,
        "registry_checked_at": None,
        "registry_in_sweeps": False,
    }
    RegisteredModel.objects.filter(pk=registered_model.pk).update(
        total_versions=versions.count(),
        latest_run=latest,
        latest_registered_at=latest.registered_at if latest else None,
        vertex_model_resource_name=latest.vertex_model_resource_name if latest else "",
        **({} if latest else unchecked),
    )
    registered_model.refresh_from_db()


def lineage_of(run: TrainingRun) -> RegisteredModel:
    """The run's lineage; before its first version, an unsaved one as it will be."""
    key: dict[str, Any] = {"project_id": run.project_id, "model_name": run.model_name}
    found = RegisteredModel.objects.filter(**key).first()
    return found or RegisteredModel(**key, uid=lineage_uid(**key))
