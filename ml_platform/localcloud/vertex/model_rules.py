"""What the Model Registry accepts and how it puts a model together: pure, no store, no clock."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from google.cloud.aiplatform_v1.types import model as gca_model

from ..core.errors import invalid, precondition

DEFAULT = "default"
Model: Any = gca_model.Model.meta.pb  # the plain protobuf class: 8 times faster to read
# Patterns and lengths: the docstrings of aiplatform_v1.types (model, model_service).
_MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_MODEL_FIELDS = {"display_name", "description"}
_VERSION_FIELDS = {"version_description"}


@dataclass(frozen=True)
class Parent:
    """The fields of a model that are shared by its versions."""

    display_name: str
    description: str
    created: str
    updated: str
    last_version: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, blob: bytes) -> Parent:
        """From the store."""
        return cls(**json.loads(blob))

    def dump(self) -> bytes:
        """For the store."""
        return json.dumps(asdict(self)).encode()

    def aliases_of(self, version: str) -> list[str]:
        """The aliases that point at a version."""
        return sorted(alias for alias, current in self.aliases.items() if current == version)

    def touched(self, now: datetime, **changes: Any) -> Parent:
        """The same with changes, updated now."""
        return replace(self, updated=now.isoformat(), **changes)


def check_upload(request: Any) -> None:
    """INVALID_ARGUMENT for what UploadModel refuses independently of the registry's state."""
    model = request.model
    if request.model_id and not _MODEL_ID.fullmatch(request.model_id):
        raise invalid(
            "model_id", "The model ID must be up to 63 characters of [a-z0-9_-], first [a-z_]."
        )
    check_display_name(model.display_name)
    if model.artifact_uri and not re.fullmatch(r"gs://[^/]+(/.*)?", model.artifact_uri):
        raise invalid("model.artifact_uri", "The artifact URI must be a gs:// directory.")
    check_aliases(model.version_aliases)
    check_labels(model.labels)


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
    """At most 64 of at most 64 characters, lower-case letters, digits, underscores, dashes."""
    if len(labels) > 64:
        raise invalid(field_name, "At most 64 labels.")
    for key, value in labels.items():
        if not key or not all(_label_text(text) for text in (key, value)):
            raise invalid(field_name, f"Invalid label {key!r}={value!r}.")


def _label_text(text: str) -> bool:
    letters = (char in "_-" or char.isdigit() or char.isalpha() for char in text)
    return len(text) <= 64 and text == text.lower() and all(letters)


def check_update(paths: Iterable[str], *, of_version: bool) -> None:
    """One update is of the model or of the version, never of both (UpdateModelRequest's docs)."""
    requested = set(paths)
    unknown = requested - _MODEL_FIELDS - _VERSION_FIELDS - {"labels"}
    if unknown or not requested:
        raise invalid("update_mask", f"Unsupported field(s): {', '.join(sorted(unknown)) or '-'}.")
    if requested & (_MODEL_FIELDS if of_version else _VERSION_FIELDS):
        kind = "version" if of_version else "model"
        raise precondition(f"The update mask does not fit the name of a {kind}.")


def merge_aliases(
    current: Mapping[str, str], version: str, requested: Iterable[str]
) -> dict[str, str]:
    """Aliases after a merge: an alias moves to `version`, `-alias` leaves it.

    The same alias added and removed cancels out. `default` cannot be removed, only moved.
    """
    requested = set(requested)
    add = {alias for alias in requested if not alias.startswith("-")}
    drop = {alias[1:] for alias in requested if alias.startswith("-")}
    check_aliases(add | drop)
    add, drop = add - drop, drop - add
    if DEFAULT in drop:
        raise precondition(
            "The default alias cannot be removed: a model must have exactly one default version."
        )
    kept = {a: v for a, v in current.items() if not (a in drop and v == version)}
    return kept | dict.fromkeys(add, version)


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
    model.update_time.FromDatetime(
        max(
            datetime.fromisoformat(parent.updated),
            version.version_update_time.ToDatetime(datetime.fromisoformat(parent.updated).tzinfo),
        )
    )
    for endpoint, deployed_id in deployed:
        model.deployed_models.add(endpoint=endpoint, deployed_model_id=deployed_id)
    model.etag = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()[:16]
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
