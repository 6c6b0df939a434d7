"""The one guard of files: each deletion of files asks it right before, whoever requests it.

Our rows alone do not prove that files are unused, so all that may refer to them is read, and what
is not known keeps them (law 8).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Answer, Present, ask
from ml_platform.cloud.names import ModelName
from ml_platform.errors import PlatformError
from ml_platform.models import DeployedEndpoint, EndpointTraffic, Operation, TrainingRun
from ml_platform.models.states import Registration
from ml_platform.services.artifacts.folders import UnsafePath, deletable_prefix
from ml_platform.services.mirror.brake import why_unbelieved
from ml_platform.services.ownership.labels import labels_for, wrong_label

from .references import Pointer, Pointers, names_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """What is deleted together with the files, and so is no other user of them."""

    rows: Collection[int] = ()
    versions: Collection[tuple[str, str]] = ()
    """Model id and number of versions in Vertex AI."""

    def has(self, pointer: Pointer) -> bool:
        """Whether the pointer goes too."""
        version = pointer.version
        known = version is not None and (version.model_id, version.version) in self.versions
        return known or pointer.row in self.rows


NOTHING_ELSE = Going()
ASKED = ("vertex", "cloud_run")
"""The planes that say who uses files."""


def users_of(folder: str, pointers: Pointers, going: Going = NOTHING_ELSE) -> list[Pointer]:
    """What points at a folder and does not go with it.

    :raises CloudUnavailable: whether a version that was listed still exists is unknown.
    """
    found = pointers.at(folder)
    return [p for p in found if not going.has(p) and pointers.is_there(p)]


def why_used(folder: str, pointers: Answer[Pointers], *, project_id: Any = None) -> str:
    """Why others keep a folder's files, '' if nobody does; not to know it is a reason too."""
    if why := why_unbelieved(*ASKED):
        return f"what uses it is unknown: {why}"
    if not isinstance(pointers, Present):
        return f"what uses it is unknown: {pointers.reason}"
    users = ask(lambda: users_of(folder, pointers.value))
    if not isinstance(users, Present):
        return f"what uses it is unknown: {users.reason}"
    return f"it is used by {names_of(users.value, project_id=project_id)}." if users.value else ""


def why_needed(run: TrainingRun) -> str:
    """Why our rows keep a run's files, '' if they allow to delete them."""
    try:
        deletable_prefix(run=run)
    except UnsafePath as error:
        return str(error)
    operation = busy_operations(str(run.pk)).first()
    if operation and run.registration != Registration.DELETED:  # which nothing can undo
        return f"operation {operation.pk} works on it."
    serving = DeployedEndpoint.objects.protecting().filter(Q(run=run) | Q(intended_run=run))
    if endpoint := serving.first():
        return f"endpoint {endpoint.service_name} is {endpoint.state}."
    if traffic := EndpointTraffic.objects.filter(run=run).select_related("endpoint").first():
        return f"revision {traffic.revision} of {traffic.endpoint} has {traffic.words}."
    if run.registration == Registration.LOST:
        return _why_in_vertex(run)
    if run.registration not in (Registration.NONE, Registration.DELETED):
        return f"it is {run.get_registration_display().lower()}."
    why = why_unbelieved(*ASKED)
    return f"what uses it is unknown: {why}" if why else ""


def busy_operations(run_id: Any) -> QuerySet[Operation]:
    """The operations that work on a run; `run_id` is its id as text, or an expression of it."""
    return Operation.objects.live().filter(subject_type="trainingrun", subject_id=run_id)


def _why_in_vertex(run: TrainingRun) -> str:
    """Why a lost version may still exist: only NOT_FOUND for its name proves it gone."""
    try:
        name = ModelName.parse(run.last_vertex_version)
    except PlatformError as error:
        return str(error)
    answer = ask(lambda: vertex.get_model(name))
    if isinstance(answer, Present):
        wrong = wrong_label(answer.value.labels, labels_for(run=run.uid))
        return f"Vertex AI has it, but {wrong}." if wrong else "Vertex AI has it."
    return why_unbelieved("vertex") if isinstance(answer, Absent) else answer.reason
