"""What Vertex AI tells about a model that others made, and what it does not: pure functions.

Vertex AI has no field for the type, the author or the project of a model. People write them as
labels, so these are read under their usual names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from ml_platform.cloud.types import RemoteEvaluation, RemoteModel
from ml_platform.models.registry.registered_model import MODEL_NAME_MAX
from ml_platform.models.states import ModelType

OURS = "mlp_"
"""With it all labels of ours begin."""
TYPE = ("model_type", "model-type", "type")
CREATOR = ("created_by", "created-by", "creator", "author", "owner")
PROJECT = ("project", "project_name", "project-name")


def label_of(labels: Mapping[str, str], names: Iterable[str]) -> str:
    """The value of the first of these labels that it has, '' for none."""
    return next((labels[name] for name in names if labels.get(name)), "")


def type_of(labels: Mapping[str, str]) -> str:
    """The type that its labels tell, '' if they tell none of ours."""
    told = label_of(labels, TYPE)
    return told if told in ModelType.values else ""


def proposed_name(display_name: str) -> str:
    """A name that we allow, as near as possible: Vertex AI allows any text up to 128 characters
    (`Model.display_name` in google/cloud/aiplatform_v1/types/model.py)."""
    plain = unicodedata.normalize("NFKD", display_name).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9_-]+", "_", plain).strip("_-")
    return (name if name[:1].isalpha() else f"model_{name}".rstrip("_"))[:MODEL_NAME_MAX]


def described(version: RemoteModel) -> dict[str, Any]:
    """What a version tells about itself, as an operation stores it."""
    made = version.version_create_time or version.create_time
    labels = dict(version.labels)
    return {
        "version": version.version,
        "aliases": sorted(version.aliases),
        "artifact_uri": version.artifact_uri,
        "made": made.isoformat() if made else "",
        "description": version.version_description or version.description,
        "labels": labels,
        "type": type_of(labels),
        "creator": label_of(labels, CREATOR),
    }


def kept_parameters(version: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the run that an adopted version becomes: where its files are, and what has
    no column of ours."""
    labels = version.get("labels", {})
    theirs = {key: value for key, value in labels.items() if not key.startswith(OURS)}
    told = {name: version.get(name) for name in ("creator", "description")} | {"labels": theirs}
    known = {name: value for name, value in told.items() if value}
    return {"adopted_from": version["artifact_uri"], **({"adopted": known} if known else {})}


def metrics_of(evaluations: Iterable[RemoteEvaluation]) -> dict[str, float]:
    """The metrics of all evaluations of a version; the newest one has the last word."""
    metrics: dict[str, float] = {}
    for each in sorted(evaluations, key=lambda one: str(one.create_time or "")):
        metrics |= each.metrics
    return metrics


def unknown_words(unknown: Mapping[str, Iterable[str]], total: int) -> str:
    """`Vertex AI does not tell the type, the metrics of v1.`; '' if it tells everything."""
    parts = [
        f"the {what}" if len(of) == total else f"the {what} of {', '.join(of)}"
        for what, versions in unknown.items()
        if (of := list(versions))
    ]
    return f"Vertex AI does not tell {', '.join(parts)}." if parts else ""
