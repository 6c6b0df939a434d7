"""A small world for tests of verbs: a clock, runs with artifacts, workers that settle."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName, model_id
from ml_platform.cloud.types import RemoteObject
from ml_platform.models import Operation, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.models.states import Registration
from ml_platform.services.artifacts.manifest import Taken, keep_manifest
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.aliases import DEFAULT
from ml_platform.services.registry.lineages import claim_lineage, sync_version_cache
from ml_platform.tests.factories import ProjectFactory, TrainingRunFactory

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

ANA = Actor(label="ana", origin="command")
BUCKET = "demo-artifacts"


class Clock:
    """Our clock, which a test moves."""

    def __init__(self, now: datetime = datetime(2026, 2, 8, 12, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def a_run(
    cloud: LocalCloud, name: str = "chern", versions: tuple[int, ...] = (1,), **fields: Any
) -> TrainingRun:
    """A run that succeeded and left its pushed model in GCS."""
    run: TrainingRun = TrainingRunFactory(completed=True, model_name=name, **fields)
    for number in versions:
        write_artifact(cloud, run, f"pushed_model/{number}/saved_model.pb")
    return run


def write_artifact(cloud: LocalCloud, run: TrainingRun, name: str) -> None:
    prefix = run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/")
    cloud.storage.write(BUCKET, f"{prefix}{name}", b"model")


def artifacts(cloud: LocalCloud, run: TrainingRun) -> list[str]:
    return cloud.storage.names(BUCKET, run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/"))


def settle(clock: Clock, rounds: int = 60) -> None:
    """Let workers go on until nothing is left to do."""
    for _ in range(rounds):
        resume_operations(clock=clock)
        if not Operation.objects.live().exists():
            return
        clock.forward(60)
    raise AssertionError(list(Operation.objects.live().values("kind", "step", "error")))


def no_pause(seconds: float) -> None:
    """Instead of a pause: what waits for its next try is due at once."""
    Operation.objects.live().update(next_attempt_at=database_now())


def a_lineage(
    cloud: LocalCloud, clock: Clock, versions: int = 1, **fields: Any
) -> tuple[RegisteredModel, list[TrainingRun]]:
    """A lineage with versions on all planes, as `registered_lineage` leaves them; the operations
    of their registrations, and what those called, are left out."""
    fields.setdefault("project", ProjectFactory())
    runs = [a_run(cloud, **fields) for _ in range(versions)]
    with transaction.atomic():
        lineage = claim_lineage(
            project_id=runs[0].project_id,
            model_name=runs[0].model_name,
            model_type=runs[0].model_type,
        )
    RegisteredModel.objects.filter(pk=lineage.pk).update(next_version=versions + 1)
    resource = cloud.models.seed(
        model_id(lineage.uid, lineage.generation),
        display_name=lineage.model_name,
        versions=[_seeded(cloud, lineage, run, number) for number, run in enumerate(runs, 1)],
    )
    for number, run in enumerate(runs, 1):
        run.registration, run.registered_model = Registration.REGISTERED, lineage
        run.version, run.vertex_model_version = number, str(number)
        run.vertex_model_resource_name, run.vertex_model_name = resource, run.model_name
        run.registered_at = clock()
        run.aliases = [DEFAULT] if number == versions else []
        run.save()
        keep_manifest(run, _files(cloud, run), ManifestOrigin.REGISTRATION, clock())
    sync_version_cache(registered_model=lineage)
    lineage.refresh_from_db()
    return lineage, runs


def _seeded(
    cloud: LocalCloud, lineage: RegisteredModel, run: TrainingRun, number: int
) -> dict[str, Any]:
    pushed = artifacts(cloud, run)[0].rpartition("/")[0]
    return {
        "version": number,
        "labels": labels_for(
            lineage=lineage.uid,
            generation=lineage.generation,
            run=run.uid,
            operation=uuid.uuid4(),
            digest=_files(cloud, run).digest,
        ),
        "artifact_uri": f"gs://{BUCKET}/{pushed}",
    }


def _files(cloud: LocalCloud, run: TrainingRun) -> Taken:
    """The manifest of the first model that a run pushed, read without a call."""
    folder = artifacts(cloud, run)[0].rpartition("/")[0] + "/"
    taken = Taken(f"gs://{BUCKET}/{folder}")
    for item in cloud.storage.tables.each(BUCKET, folder):
        found = RemoteObject(
            name=item.name,
            size=item.size,
            crc32c=item.crc32c,
            generation=item.generation,
            updated=None,
        )
        taken.add(item.name.removeprefix(folder), found)
    return taken


def registered_lineage(
    cloud: LocalCloud, clock: Clock, versions: int = 1, **fields: Any
) -> tuple[RegisteredModel, list[TrainingRun]]:
    """A lineage with versions that were registered through our door."""
    fields.setdefault("project", ProjectFactory())
    runs = [a_run(cloud, **fields) for _ in range(versions)]
    for run in runs:
        register_run(run=run, actor=ANA, now=clock())
        settle(clock)
        run.refresh_from_db()
    lineage = runs[0].registered_model
    assert lineage
    return lineage, runs


def vertex_versions(lineage: RegisteredModel) -> dict[str, tuple[str, ...]]:
    """What Vertex AI has of a lineage: version number -> aliases."""
    name = ModelName.parse(lineage.vertex_model_resource_name)
    pages = vertex.list_model_versions(name)
    return {model.version: model.aliases for page in pages for model in page}
