"""What the Model Registry accepts and how it puts a model together: pure, no store, no clock."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import grpc
from google.cloud.aiplatform_v1.types import model as gca_model

from ...core.errors import CloudError, invalid, precondition

DEFAULT = "default"
Model: Any = gca_model.Model.meta.pb  # the plain protobuf class: 8 times faster to read
# Patterns and lengths: the docstrings of aiplatform_v1.types (model, model_service).
_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_MODEL_FIELDS = {"display_name", "description"}
_VERSION_FIELDS = {"version_description"}
# What Vertex answers for an uploaded container: GoogleCloudPlatform/data-science-on-gcp#154.
_INPUT_FORMATS = ("jsonl", "bigquery", "csv", "tf-record", "tf-record-gzip", "file-list")
_OUTPUT_FORMATS = ("jsonl", "bigquery")
# Fields that are "output only" in aiplatform_v1.types.Model: an upload cannot set them.
_OUTPUT_ONLY = (
    "name",
    "version_id",
    "version_create_time",
    "version_update_time",
    "create_time",
    "update_time",
    "etag",
    "deployed_models",
    "training_pipeline",
    "supported_deployment_resources_types",
    "supported_input_storage_formats",
    "supported_output_storage_formats",
    "supported_export_formats",
    "model_source_info",
    "original_model_info",
    "metadata_artifact",
    "satisfies_pzs",
    "satisfies_pzi",
)
_LABELS = (
    "There can be no more than 64 labels attached to a single resource. Label keys and values can "
    "only contain lowercase letters, numbers, dashes and underscores. Label keys must start with a "
    "letter or number, must be less than 64 characters in length, and must be less that 128 bytes "
    "in length when encoded in UTF-8. Label values must be less than 64 characters in length, and "
    "must be less that 128 bytes in length when encoded in UTF-8."
)


@dataclass
class Behavior:
    """Where Google's behavior is not documented: set each to the other answer and test both."""

    exists_in_lro: bool = False  # ALREADY_EXISTS ends the operation instead of the call
    versions_restart: bool = True  # an id that is used again starts at version 1
    default_moves: bool = True  # deleting the default version moves the alias, else refused
    labels_per_version: bool = True  # the labels of an upload belong to its version


@dataclass(frozen=True)
class Parent:
    """The fields of a model that are shared by its versions."""

    display_name: str
    description: str
    created: str
    updated: str
    revision: int
    """Changes with each write to the model, and with no deployment: the etag is made of it."""
    last_version: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, blob: bytes) -> Parent:
        """From the store."""
        return cls(**json.loads(blob))

    def dump(self) -> bytes:
        """For the store."""
        return json.dumps(vars(self)).encode()

    def aliases_of(self, version: str) -> list[str]:
        """The aliases that point at a version, in the order in which they came to it."""
        return [alias for alias, current in self.aliases.items() if current == version]

    @property
    def etag(self) -> str:
        """As long as Vertex's and with their beginning (data-science-on-gcp#154)."""
        digest = hashlib.sha512(f"model revision {self.revision}".encode()).digest()
        return f"AMEw9y{base64.urlsafe_b64encode(digest).decode()[:62]}"

    def check_etag(self, etag: str) -> None:
        """ABORTED for an etag that is not the current one (google.aip.dev/154)."""
        if etag and etag != self.etag:
            raise CloudError(
                grpc.StatusCode.ABORTED, "The etag does not match: read the Model again."
            )

    def touched(self, now: datetime, revision: int, **changes: Any) -> Parent:
        """The same with changes, updated now."""
        return replace(self, updated=now.isoformat(), revision=revision, **changes)


def check_upload(request: Any) -> None:
    """INVALID_ARGUMENT for what UploadModel refuses independently of the registry's state."""
    model = request.model
    check_display_name(model.display_name)
    check_model_id(request.model_id)
    if model.artifact_uri and not re.fullmatch(r"gs://[^/]+(/.*)?", model.artifact_uri):
        raise invalid("model.artifact_uri", "The artifact URI must be a gs:// directory.")
    check_aliases(model.version_aliases)
    check_labels(model.labels)


def check_model_id(model_id: str) -> None:
    """INVALID_ARGUMENT unless it is one, or empty: Vertex gives it a number."""
    if model_id and not _MODEL_ID.fullmatch(model_id):
        raise invalid(
            "model_id", "The model ID must be up to 63 characters of [a-z0-9_-], first [a-z_]."
        )


def check_seed(model_id: str, items: Sequence[Mapping[str, Any]]) -> None:
    """ValueError unless it is an id, with versions of growing numbers."""
    if not re.fullmatch(r"[a-z0-9_-]{1,63}", model_id):
        raise ValueError(f"{model_id!r} is not a model id.")
    numbers = [int(item.get("version", 0)) for item in items]
    if not numbers or numbers[0] < 1 or numbers != sorted(set(numbers)):
        raise ValueError(f"Versions are numbers from 1 that grow, not {numbers}.")


def check_display_name(display_name: str) -> None:
    """1 to 128 characters."""
    if not 1 <= len(display_name) <= 128:
        raise invalid("model.display_name", "The display name must have 1 to 128 characters.")


def check_aliases(aliases: Iterable[str]) -> None:
    """INVALID_ARGUMENT for an alias that could be taken for a version id, or is malformed."""
    for alias in aliases:
        if not _ALIAS.fullmatch(alias):
            raise invalid(
                "version_aliases",
                f"Invalid alias {alias!r}: expected [a-z][a-zA-Z0-9-]{{0,126}}[a-z0-9].",
            )


def check_labels(labels: Mapping[str, str], field_name: str = "model.labels") -> None:
    """INVALID_ARGUMENT in the words that statmike/vertex-ai-mlops#6 met."""
    texts = [text for label in labels.items() for text in label]
    starts = all(key[:1].isalnum() for key in labels)
    if len(labels) > 64 or not starts or not all(map(_label_text, texts)):
        raise invalid(field_name, _LABELS)


def _label_text(text: str) -> bool:
    letters = (char in "_-" or char.isdigit() or char.isalpha() for char in text)
    short = len(text) < 64 and len(text.encode()) < 128
    return short and text == text.lower() and all(letters)


def check_update(paths: Iterable[str], *, of_version: bool) -> None:
    """One update is of the model or of the version, never of both (UpdateModelRequest's docs)."""
    requested = set(paths)
    unknown = requested - _MODEL_FIELDS - _VERSION_FIELDS - {"labels"}
    if unknown or not requested:
        raise invalid("update_mask", f"Unsupported field(s): {', '.join(sorted(unknown)) or '-'}.")
    if requested & (_MODEL_FIELDS if of_version else _VERSION_FIELDS):
        kind = "version" if of_version else "model"
        raise precondition(f"The update mask does not fit the name of a {kind}.")


def changes(model: Any, paths: Iterable[str]) -> dict[str, Any]:
    """What an update of a model changes in its Parent."""
    values = {
        "display_name": model.display_name,
        "description": model.description,
        "labels": dict(model.labels),
    }
    return {path: values[path] for path in paths}


def merge_aliases(
    current: Mapping[str, str], version: str, requested: Iterable[str]
) -> dict[str, str]:
    """Aliases after a merge: an alias moves to `version`, `-alias` leaves it.

    The same alias added and removed cancels out. `default` cannot be removed, only moved.
    """
    requested = list(requested)
    add = [alias for alias in requested if not alias.startswith("-")]
    drop = {alias[1:] for alias in requested if alias.startswith("-")}
    check_aliases([*add, *drop])
    if DEFAULT in drop.difference(add):
        raise precondition(
            "The default alias cannot be removed: a model must have exactly one default version."
        )
    kept = {a: v for a, v in current.items() if a in add or not (a in drop and v == version)}
    return with_aliases(kept, version, (alias for alias in add if alias not in drop))


def with_aliases(current: Mapping[str, str], version: str, added: Iterable[str]) -> dict[str, str]:
    """Aliases with some more of a version, behind those that it has."""
    aliases = dict(current)
    for alias in added:
        if aliases.get(alias) != version:
            aliases.pop(alias, None)
            aliases[alias] = version
    return aliases


def settle(version: Any) -> None:
    """Make the output-only fields of an upload those that Vertex would answer."""
    for field_name in _OUTPUT_ONLY:
        version.ClearField(field_name)
    version.model_source_info.source_type = gca_model.ModelSourceInfo.ModelSourceType.CUSTOM
    if version.HasField("container_spec"):
        resources = gca_model.Model.DeploymentResourcesType.DEDICATED_RESOURCES
        version.supported_deployment_resources_types.append(resources)
        version.supported_input_storage_formats.extend(_INPUT_FORMATS)
        version.supported_output_storage_formats.extend(_OUTPUT_FORMATS)
    if version.artifact_uri:
        content = gca_model.Model.ExportFormat.ExportableContent.ARTIFACT
        version.supported_export_formats.add(id="custom-trained", exportable_contents=[content])


def render(parent: Parent, version: Any, name: str, deployed: Iterable[tuple[str, str]]) -> Any:
    """The Model as it is answered: parts of the model over parts of the version."""
    model = Model()
    model.CopyFrom(version)
    model.name = name
    model.display_name, model.description = parent.display_name, parent.description
    model.version_aliases[:] = parent.aliases_of(version.version_id)
    for key, value in parent.labels.items():
        if key not in version.labels:
            model.labels[key] = value
    model.create_time.FromDatetime(datetime.fromisoformat(parent.created))
    updated = datetime.fromisoformat(parent.updated)
    model.update_time.FromDatetime(
        max(updated, version.version_update_time.ToDatetime(updated.tzinfo))
    )
    for endpoint, deployed_id in deployed:
        model.deployed_models.add(endpoint=endpoint, deployed_model_id=deployed_id)
    model.etag = parent.etag
    return model


def masked(model: Any, paths: Iterable[str]) -> Any:
    """Only the fields of a read mask (top-level); all without a mask."""
    wanted = {path.partition(".")[0] for path in paths}
    if not wanted or "*" in wanted:
        return model
    for descriptor, _ in model.ListFields():
        if descriptor.name not in wanted:
            model.ClearField(descriptor.name)
    return model
