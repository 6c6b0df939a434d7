"""A second installation, played in the test's database: another database beside the same cloud."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ml_platform.cloud.transport import channels
from ml_platform.models import (
    DeployedEndpoint,
    Event,
    Finding,
    Installation,
    Manifest,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.services.installation.marker import NAME

from .world import BUCKET

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

MARKER = f"runs/{NAME}"


def another_database() -> None:
    """Go on as another database: none of our rows is there, and who we are is not either."""
    RegisteredModel.objects.update(
        latest_run=None, total_versions=0, vertex_model_resource_name="", latest_registered_at=None
    )
    for table in (
        Event, Finding, Sweep, Manifest, DeployedEndpoint, Operation, TrainingRun,
        RegisteredModel, Installation,
    ):  # fmt: skip
        table.objects.all().delete()


def backup() -> dict[str, Any]:
    """Who we are now, as a backup of the database has it."""
    return dict(Installation.objects.values().get())


def restore(row: dict[str, Any]) -> None:
    """Go on as a database that was restored from that backup, or as a copy of it."""
    Installation.objects.all().delete()
    Installation.objects.create(**row)


def marker_of(cloud: LocalCloud) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(cloud.storage.read(BUCKET, MARKER) or b"")
    return said


def a_bucket() -> None:
    """Make the bucket, in which a deletion puts the marker; writing an artifact makes it too."""
    channels.storage_client().create_bucket(BUCKET)
