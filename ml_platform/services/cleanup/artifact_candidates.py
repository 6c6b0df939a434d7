"""Which artifacts are old and belong to no version, and why some of them are kept.

Our rows alone do not prove that files are unused, so all that may refer to them is read (law 8).
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import CharField, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Cast

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Answer, Present, ask
from ml_platform.cloud.names import ModelName
from ml_platform.errors import PlatformError
from ml_platform.models import DeployedEndpoint, Operation, TrainingRun
from ml_platform.models.states import LIVE_RUN_STATUSES, Registration
from ml_platform.services.registry.artifacts import UnsafePath, deletable_prefix
from ml_platform.services.registry.labels import labels_for, wrong_label
from ml_platform.services.registry.references import Pointers, names_of

from .state import ArtifactState


def candidates(state: ArtifactState) -> QuerySet[TrainingRun]:
    """Return old runs that are not a version and that no endpoint or operation needs."""
    old = datetime.fromisoformat(state.ended_before)
    states = [Registration.NONE, Registration.DELETED]
    if state.include_registered:
        states.append(Registration.LOST)
    this = OuterRef("pk")
    served = DeployedEndpoint.objects.protecting().filter(
        Q(run=this) | Q(intended_run=this) | Q(previous_run=this)
    )
    busy = Operation.objects.live().filter(
        subject_type="trainingrun", subject_id=Cast(this, CharField())
    )
    ended = TrainingRun.objects.exclude(status__in=LIVE_RUN_STATUSES)
    return (
        ended.exclude(gcs_artifacts_path="")
        .filter(registration__in=states, created_at__lt=old)
        .filter(Q(finished_at__isnull=True) | Q(finished_at__lt=old))
        .exclude(Exists(served) | Exists(busy))
    )


def reason_to_keep(run: TrainingRun) -> str:
    """Return why a run's artifacts are kept, '' if our rows allow to delete them."""
    try:
        deletable_prefix(run=run)
    except UnsafePath as error:
        return str(error)
    busy = Operation.objects.live().filter(subject_type="trainingrun", subject_id=str(run.pk))
    if operation := busy.first():
        return f"operation {operation.pk} works on it."
    if run.registration == Registration.LOST:
        return _reason_of_vertex(run)
    if run.registration not in (Registration.NONE, Registration.DELETED):
        return f"it is {run.get_registration_display().lower()}."
    return ""


def reason_of_users(run: TrainingRun, users: Answer[Pointers]) -> str:
    """Return what refers to a run's artifacts, as a reason to keep them; so is not knowing it."""
    if not isinstance(users, Present):
        return f"what uses it is unknown: {users.reason}"
    prefix = deletable_prefix(run=run)
    found = users.value.at(str(prefix)) if prefix else []
    return f"it is used by {names_of(found)}." if found else ""


def _reason_of_vertex(run: TrainingRun) -> str:
    """Return why a lost version may still exist: only NOT_FOUND for its name proves it gone."""
    try:
        name = ModelName.parse(run.last_vertex_version)
    except PlatformError as error:
        return str(error)
    answer = ask(lambda: vertex.get_model(name))
    if isinstance(answer, Present):
        wrong = wrong_label(answer.value.labels, labels_for(run=run.uid))
        return f"Vertex AI has it, but {wrong}." if wrong else "Vertex AI has it."
    return "" if isinstance(answer, Absent) else answer.reason
