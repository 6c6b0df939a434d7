"""The Vertex AI endpoints that serve our models, as the newest reading of Vertex AI listed them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ml_platform.cloud.names import ModelName, same_resource
from ml_platform.errors import Invalid
from ml_platform.models import MirroredEndpoint
from ml_platform.models.registry.registered_model import RegisteredModelQuerySet


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A version at a Vertex AI endpoint; `version` is '' where Vertex AI does not tell it."""

    endpoint: MirroredEndpoint
    deployed_id: str
    model: ModelName
    version: str
    percent: int

    @property
    def pointer(self) -> ModelName:
        """The name of the model with the version, if that can be part of a name."""
        with suppress(Invalid):
            return self.model.at(self.version)
        return self.model


def deployments_of(endpoints: Iterable[MirroredEndpoint]) -> Iterator[Deployment]:
    """Yield what is deployed to them, without what has no name of a model."""
    for endpoint in endpoints:
        for one in endpoint.deployed:
            if model := _model_of(one):
                yield Deployment(
                    endpoint=endpoint,
                    deployed_id=one["id"],
                    model=model,
                    version=one["version"],
                    percent=one["percent"],
                )


def deployments_at(resource_name: str) -> list[Deployment]:
    """Return where the model of that name is deployed, its newest versions first."""
    with suppress(Invalid):
        name = ModelName.parse(resource_name)
        rows = deployments_of(MirroredEndpoint.objects.order_by("display_name", "pk"))
        found = [one for one in rows if same_resource(one.model, name)]
        return sorted(found, key=lambda one: one.version.zfill(20), reverse=True)
    return []


def count_serving(models: RegisteredModelQuerySet) -> int:
    """Return how many endpoints serve a version of one of these models."""
    found = list(deployments_of(MirroredEndpoint.objects.all()))
    if not found:
        return 0
    names = models.registered().values_list("vertex_model_resource_name", flat=True)
    ids = {name.rpartition("/")[2] for name in names.iterator()}
    return len({one.endpoint.pk for one in found if one.model.model_id in ids})


def _model_of(deployed: Mapping[str, Any]) -> ModelName | None:
    with suppress(Invalid):
        return ModelName.parse(deployed["model"])
    return None
