"""What tests begin with is what the product's own verbs leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteModel
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.services.ownership.labels import OPERATION

from .world import Clock, a_lineage, registered_lineage

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
OWN = {"id", "uid", "pk", "project_id", "model_name", "created_at", "updated_at"}
"""Columns that differ between any two rows, or say which lineage it is."""


def told(cloud: LocalCloud, lineage: RegisteredModel, runs: list[TrainingRun]) -> str:
    """All that is stored of a lineage, with what names it put in words."""
    lineage.refresh_from_db()
    for run in runs:
        run.refresh_from_db()
    pages = vertex.list_model_versions(ModelName.parse(lineage.vertex_model_resource_name))
    text = repr(
        {
            "rows": [columns(row) for row in (lineage, *runs)],
            "files": [files(run) for run in runs],
            "vertex": [vertex_facts(version) for page in pages for version in page],
        }
    )
    ids = {lineage.uid.hex: "lineage", **{run.uid.hex: f"run {run.version}" for run in runs}}
    for uid, word in ids.items():
        text = text.replace(uid, word)
    return text


def vertex_facts(version: RemoteModel) -> tuple[Any, ...]:
    """What Vertex AI has of a version, but for its times and which operation uploaded it."""
    labels = {key: value for key, value in version.labels.items() if key != OPERATION}
    assert len(labels) == len(version.labels) - 1
    uri, aliases = version.artifact_uri, sorted(version.aliases)
    return version.pointer, version.display_name, aliases, sorted(labels.items()), uri


def files(run: TrainingRun) -> dict[str, Any]:
    """A version's manifest, but for the generations of its files."""
    kept = columns(run.manifest)
    kept["files"] = [file[:3] for file in kept["files"]]
    return {name: value for name, value in kept.items() if name != "run_id"}


def columns(row: Any) -> dict[str, Any]:
    """What a row stores, but for OWN, and for the other row's key its version."""
    fields = [field.attname for field in row._meta.concrete_fields]
    kept = {name: getattr(row, name) for name in fields if name not in OWN}
    if isinstance(row, RegisteredModel):
        kept["latest_run_id"] = row.latest_run and row.latest_run.version
    elif isinstance(row, TrainingRun):
        kept["registered_model_id"] = row.registered_model_id is not None
    return kept


def test_a_lineage_is_as_its_registrations_would_have_left_it(cloud: LocalCloud) -> None:
    clock = Clock()
    by_door = told(cloud, *registered_lineage(cloud, clock, versions=3, name="chern"))
    cloud.reset()
    seeded = told(cloud, *a_lineage(cloud, clock, versions=3, name="chern"))
    assert seeded == by_door
