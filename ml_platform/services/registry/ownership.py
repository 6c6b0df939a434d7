"""Which models and services on Google Cloud are a lineage's own: labels alone can be copied."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

from ml_platform.cloud.names import ModelName, model_id
from ml_platform.errors import Conflict, Invalid
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationKind, OperationStatus

from .labels import owner
from .service_names import is_made_for

_SERVING = (
    OperationKind.DEPLOY, OperationKind.REDEPLOY, OperationKind.UNDEPLOY, OperationKind.DELETE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OwnModels:
    """The ids that are or were a lineage's, and the projects and locations it is or was in."""

    ids: set[str] = field(default_factory=set)
    places: set[tuple[str, str]] = field(default_factory=set)

    def holds(self, name: ModelName) -> bool:
        """Whether that model is the lineage's own: its id, in a place of the lineage.

        Projects differ only by their numbers: a name may have the id instead.
        """
        numbers = {name.project} if name.project.isdigit() else set()
        return name.model_id in self.ids and any(
            location == name.location
            and not (numbers and project.isdigit() and project != name.project)
            for project, location in self.places
        )


class CopiedModel(Conflict):
    """The model carries our labels and is none that we made or adopted: somebody copied it."""

    code = "copied_model"
    advice = "Sweep again, then decide: adopt it, delete it in Google's console, or leave it."


def own_models(lineages: Collection[int]) -> dict[int, OwnModels]:
    """The models of each of these lineages, by its id.

    Ids are those that we make, a generation after the other, and those that rows point or pointed
    at: an adopted model keeps the id that it had.
    """
    rows = RegisteredModel.objects.filter(pk__in=lineages)
    own = {
        pk: OwnModels({model_id(uid, number) for number in range(1, generation + 1)})
        for pk, uid, generation in rows.values_list("pk", "uid", "generation")
    }
    pointers = TrainingRun.objects.filter(registered_model__in=own).values_list(
        "registered_model", "vertex_model_resource_name", "last_vertex_version"
    )
    for lineage, *texts in pointers.iterator():
        for text in texts:
            with suppress(Invalid):  # most runs have only one of the two
                name = ModelName.parse(text)
                own[lineage].ids.add(name.model_id)
                own[lineage].places.add((name.project, name.location))
    return own


def require_own(name: ModelName, lineage: RegisteredModel) -> None:
    """Refuse to change a model that is not the lineage's own.

    :raises CopiedModel: its id was never the lineage's.
    """
    if not own_models([lineage.pk])[lineage.pk].holds(name):
        raise CopiedModel(
            f"{name.model_id} was never the model of {lineage}: somebody gave our labels to it."
        )


def is_own_service(name: str, lineage_id: int | None) -> bool:
    """Whether a service has a name that the lineage's services have, or that one of them had.

    Deploys may choose a name, and the history of an endpoint stays when its row is deleted.
    """
    lineage = RegisteredModel.objects.filter(pk=lineage_id or 0).first()
    if lineage is None:
        return False
    if is_made_for(name, installation=owner(), lineage=lineage.uid):
        return True
    history = Operation.objects.filter(service_key=name, lineage=lineage, kind__in=_SERVING)
    return history.exclude(status=OperationStatus.FAILED, step="").exists()
