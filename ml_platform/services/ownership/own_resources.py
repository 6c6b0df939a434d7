"""Which models and services belong to a lineage. Labels do not prove it: anyone can copy them."""

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
    """The model ids of a lineage, now and before, and the projects and locations it has been in."""

    ids: set[str] = field(default_factory=set)
    places: set[tuple[str, str]] = field(default_factory=set)

    def holds(self, name: ModelName) -> bool:
        """Whether the model belongs to the lineage: one of its ids, in one of its places.

        Two projects are known to differ only by their numbers: a name may have the id instead.
        """
        numbers = {name.project} if name.project.isdigit() else set()
        return name.model_id in self.ids and any(
            location == name.location
            and not (numbers and project.isdigit() and project != name.project)
            for project, location in self.places
        )


class CopiedModel(Conflict):
    """The model has our labels, but we neither created nor adopted it: it is a copy."""

    code = "copied_model"
    advice = "Sweep again, then decide: adopt it, delete it in Google's console, or leave it."


def own_models(lineages: Collection[int]) -> dict[int, OwnModels]:
    """The models of each of these lineages, by its id.

    They are one id for each generation, and what its runs point or pointed at: an adopted model
    keeps its own id.
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
        for text in filter(None, texts):
            with suppress(Invalid):
                name = ModelName.parse(text)
                own[lineage].ids.add(name.model_id)
                own[lineage].places.add((name.project, name.location))
    return own


def require_own(name: ModelName, lineage: RegisteredModel) -> None:
    """Check that a model belongs to the lineage, before it is changed.

    :raises CopiedModel: its id was never one of the lineage's.
    """
    if not own_models([lineage.pk])[lineage.pk].holds(name):
        raise CopiedModel(
            f"{name.model_id} was never the model of {lineage}: its labels are copies of ours."
        )


def is_own_service(name: str, lineage_id: int | None) -> bool:
    """Whether a service has a name that we make for the lineage, or that one of its deploys chose.

    The operations of an endpoint stay when its row is deleted.
    """
    uid = RegisteredModel.objects.filter(pk=lineage_id or 0).values_list("uid", flat=True).first()
    if uid is None:
        return False
    history = Operation.objects.filter(service_key=name, lineage=lineage_id, kind__in=_SERVING)
    began = history.exclude(status=OperationStatus.FAILED, step="")
    return is_made_for(name, installation=owner(), lineage=uid) or began.exists()
