"""The Vertex AI Model Registry: models and their versions; and the endpoints that serve them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import isfinite
from typing import Any

from ml_platform.errors import DEFECT, Invalid

from .names import EndpointName, ModelName, OperationName, check_alias
from .raw import read_time
from .transport import channels, operations
from .types import (
    DeployedVersion,
    RemoteEndpoint,
    RemoteEvaluation,
    RemoteModel,
    RemoteOperation,
)


def list_models(*, filter: str = "", page_size: int = 100) -> Iterator[tuple[RemoteModel, ...]]:
    """Yield the models of the location page by page, each as its default version.

    A page that cannot be read raises, so a listing that ends is complete. It has no order.
    """
    request = {"parent": channels.location_path(), "filter": filter, "page_size": page_size}
    return channels.rpc_pages("ModelService.ListModels", request, _read_models)


def list_model_versions(
    name: ModelName, *, filter: str = "", page_size: int = 100
) -> Iterator[tuple[RemoteModel, ...]]:
    """Yield all versions of one model page by page.

    :raises CloudAbsent: the model does not exist.
    """
    request = {"name": channels.checked(name.bare), "filter": filter, "page_size": page_size}
    return channels.rpc_pages("ModelService.ListModelVersions", request, _read_models)


def list_endpoints(*, page_size: int = 100) -> Iterator[tuple[RemoteEndpoint, ...]]:
    """Yield the endpoints of the location page by page, with what is deployed to them.

    A page that cannot be read raises, so a listing that ends is complete.
    """
    request = {"parent": channels.location_path(), "page_size": page_size}
    return channels.rpc_pages("EndpointService.ListEndpoints", request, _read_endpoints)


def get_model(name: ModelName) -> RemoteModel:
    """Return that version of the model, or its default version when the name has none.

    :raises CloudAbsent: Vertex AI answered NOT_FOUND for exactly that name.
    """
    request = {"name": channels.checked(name)}
    return channels.rpc("ModelService.GetModel", request, _read_model)


def list_evaluations(name: ModelName) -> Iterator[tuple[RemoteEvaluation, ...]]:
    """Yield the evaluations of one version page by page.

    :raises Invalid: the name has no version number.
    """
    request = {"parent": channels.checked(_numbered(name)), "page_size": 100}
    return channels.rpc_pages("ModelService.ListModelEvaluations", request, _read_evaluations)


def upload_model(
    *,
    display_name: str,
    artifact_uri: str,
    serving_image: str,
    labels: Mapping[str, str],
    model_id: str = "",
    parent_model: ModelName | None = None,
    aliases: Collection[str] = (),
    is_default: bool = True,
    description: str = "",
) -> RemoteOperation:
    """Start the upload of a new model under `model_id`, or of a new version of `parent_model`.

    An upload has no request id: if its outcome is unknown, search by its labels before another
    attempt, because it may have happened (law 7). The alias `default` makes it the default
    version, as in google/cloud/aiplatform/models.py.

    :raises CloudExists: a model of that id exists.
    """
    wanted = [check_alias(alias) for alias in aliases]
    if is_default and "default" not in wanted:
        wanted.append("default")
    request = {
        "parent": channels.location_path(),
        "parent_model": channels.checked(parent_model.bare) if parent_model else "",
        "model_id": model_id,
        "model": {
            "display_name": display_name,
            "artifact_uri": artifact_uri,
            "container_spec": {"image_uri": serving_image},
            "labels": dict(labels),
            "version_aliases": wanted,
            "version_description": description,
        },
    }
    return operations.start("ModelService.UploadModel", request)


def delete_model(name: ModelName) -> RemoteOperation:
    """Start the deletion of a model **with all its versions**.

    :raises Invalid: the name has a version; `delete_model_version` deletes one.
    :raises CloudConflict: an endpoint of Vertex AI serves it.
    """
    if name.version:
        raise Invalid(f"DeleteModel of {name} would delete every other version too.", advice=DEFECT)
    return operations.start("ModelService.DeleteModel", {"name": channels.checked(name)})


def delete_model_version(name: ModelName) -> RemoteOperation:
    """Start the deletion of one version; Vertex AI refuses to delete the only one.

    :raises Invalid: the name has no version number. An alias is not accepted, because it can move.
    :raises CloudConflict: it is the only version, or an endpoint of Vertex AI serves it.
    """
    request = {"name": channels.checked(_numbered(name))}
    return operations.start("ModelService.DeleteModelVersion", request)


def merge_version_aliases(name: ModelName, aliases: Collection[str]) -> RemoteModel:
    """Move aliases to one version; `-alias` removes it.

    :raises Invalid: the name has no version number, or an alias is not valid.
    """
    for alias in aliases:
        check_alias(alias.removeprefix("-"))
    request = {"name": channels.checked(_numbered(name)), "version_aliases": list(aliases)}
    return channels.rpc("ModelService.MergeVersionAliases", request, _read_model)


def update_model_labels(
    name: ModelName, labels: Mapping[str, str], *, etag: str = ""
) -> RemoteModel:
    """Replace the labels of one version, as UpdateModelRequest documents for a name with `@`.

    With `etag` only if the model still has it; without, it overwrites (`Model.etag` in
    google/cloud/aiplatform_v1/types/model.py).

    :raises Invalid: the name has no version number.
    :raises CloudConflict: the model has changed since it was read.
    """
    model = {"name": channels.checked(_numbered(name)), "labels": dict(labels), "etag": etag}
    request = {
        "model": model,
        "update_mask": {"paths": ["labels"]},
    }
    return channels.rpc("ModelService.UpdateModel", request, _read_model)


def get_operation(name: OperationName) -> RemoteOperation:
    """Return the state of a long-running operation of Vertex AI: an upload or a deletion.

    :raises CloudAbsent: Vertex AI no longer keeps it (after weeks); its outcome is unknown.
    """
    return operations.get_operation(name, method="ModelService.DeleteModel")


def _numbered(name: ModelName) -> ModelName:
    if not name.version.isdigit():
        raise Invalid(f"{name} has no version number.", advice=DEFECT)
    return name


def _read_endpoints(page: Any) -> tuple[RemoteEndpoint, ...]:
    return tuple(map(_read_endpoint, page.endpoints))


def _read_endpoint(raw: Any) -> RemoteEndpoint:
    return RemoteEndpoint(
        name=EndpointName.parse(raw.name),
        display_name=raw.display_name,
        deployed=tuple(
            DeployedVersion(
                deployed_id=one.id,
                model=one.model.partition("@")[0],
                version=one.model_version_id or one.model.partition("@")[2],
                # One that the split does not name gets no traffic (`traffic_split` in
                # google/cloud/aiplatform_v1/types/endpoint.py).
                percent=raw.traffic_split.get(one.id, 0),
            )
            for one in raw.deployed_models
        ),
        create_time=read_time(raw, "create_time"),
    )


def _read_models(page: Any) -> tuple[RemoteModel, ...]:
    return tuple(map(_read_model, page.models))


def _read_model(raw: Any) -> RemoteModel:
    name = ModelName.parse(raw.name)
    return RemoteModel(
        name=name.bare,
        version=raw.version_id or name.version,
        display_name=raw.display_name,
        aliases=tuple(raw.version_aliases),
        labels=dict(raw.labels),
        artifact_uri=raw.artifact_uri,
        create_time=read_time(raw, "create_time"),
        version_create_time=read_time(raw, "version_create_time"),
        update_time=read_time(raw, "update_time"),
        endpoints=tuple(dict.fromkeys(each.endpoint for each in raw.deployed_models)),
        etag=raw.etag,
        description=raw.description,
        version_description=raw.version_description,
    )


def _read_evaluations(page: Any) -> tuple[RemoteEvaluation, ...]:
    return tuple(map(_read_evaluation, page.model_evaluations))


def _read_evaluation(raw: Any) -> RemoteEvaluation:
    """`metrics` is any JSON: https://cloud.google.com/vertex-ai/docs/evaluation/introduction."""
    values = raw.metrics.struct_value.fields.items()
    numbers = {n: v.number_value for n, v in values if v.WhichOneof("kind") == "number_value"}
    return RemoteEvaluation(
        metrics={name: number for name, number in numbers.items() if isfinite(number)},
        create_time=read_time(raw, "create_time"),
    )
