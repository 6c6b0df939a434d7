"""What the comparisons with Vertex AI read from our tables and from the mirror."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db.models import Case, CharField, Value, When
from django.db.models.functions import Left, Substr
from django.db.models.lookups import Exact

from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteModel
from ml_platform.conf import require_settings
from ml_platform.models import MirroredModel, RegisteredModel, TrainingRun
from ml_platform.models.registry.registered_model import RegisteredModelQuerySet
from ml_platform.services.findings.comparisons.models import ListedModel, Location
from ml_platform.services.installation.identity import Identity, identity
from ml_platform.services.mirror.project_names import project_names, project_number
from ml_platform.services.operations.store import lineage_key
from ml_platform.services.operations.work import Json
from ml_platform.services.ownership.labels import INSTALLATION, OWNER, RUN, is_uid, owner

from .discrepancy import is_same

NAME = "vertex_model_resource_name"
# Only the columns that the comparisons use: a sweep reads many thousands of rows.
LINEAGE_COLUMNS = (
    "project", "model_name", "vertex_model_resource_name", "total_versions",
    "latest_registered_at", "created_at",
)  # fmt: skip
VERSION_COLUMNS = (
    "uid", "registered_model", "project", "model_name", "version", "registration",
    "vertex_model_resource_name", "vertex_model_version", "last_vertex_version",
    "gcs_artifacts_path", "parameters",
)  # fmt: skip
SEEN_COLUMNS = (
    "model_id", "resource_name", "display_name", "version", "owner", "theirs", "run_uid",
    "artifact_uri", "remote_created_at", "remote_updated_at",
)  # fmt: skip


def key_of(about: RegisteredModel | TrainingRun) -> str:
    """The lock key of a lineage, or of the lineage of a run."""
    return lineage_key(project_id=about.project_id, model_name=about.model_name)


def read_place() -> Location:
    """The configured project and location, as the last listing wrote them."""
    settings = require_settings()
    return Location(
        project=settings.PROJECT_ID,
        number=project_number(),
        location=settings.LOCATION,
        owner=owner(),
    )


def name_starts(place: Location) -> list[str]:
    """How the names of models here begin: our rows may have the project's id or its number."""
    projects = sorted(project_names(place.number))
    return [f"projects/{project}/locations/{place.location}/models/" for project in projects]


def with_model_id(place: Location) -> RegisteredModelQuerySet:
    """The registered models with the id of their model in our location, '' for one elsewhere."""
    starts = (
        When(Exact(Left(NAME, len(start)), Value(start)), then=Substr(NAME, len(start) + 1))
        for start in name_starts(place)
    )
    model_id = Case(*starts, default=Value(""), output_field=CharField())
    rows: RegisteredModelQuerySet = RegisteredModel.objects.registered().annotate(model_id=model_id)
    return rows


def seen_of(row: MirroredModel) -> ListedModel:
    """A row of the mirror as the comparisons get it."""
    return ListedModel(
        name=ModelName.parse(row.resource_name),
        display_name=row.display_name,
        version=row.version,
        owner=row.owner,
        theirs=row.theirs,
        run_uid=row.run_uid,
        artifact_uri=row.artifact_uri,
        created_at=row.remote_created_at,
        updated_at=row.remote_updated_at,
    )


def seen_by_id(model_ids: Collection[str]) -> dict[str, ListedModel]:
    """The listed models of these ids."""
    rows = MirroredModel.objects.filter(model_id__in=model_ids).only(*SEEN_COLUMNS)
    return {row.model_id: seen_of(row) for row in rows}


def labelled_runs(models: Iterable[ListedModel]) -> dict[str, TrainingRun]:
    """Return the runs that the labels or folders of these models or versions name, by uid."""
    named = {uid for seen in models for uid in (seen.run_uid, seen.files_uid)}
    uids = set(filter(is_uid, named))
    runs = TrainingRun.objects.filter(uid__in=uids).select_related("registered_model")
    model = "registered_model__vertex_model_resource_name"
    return {run.uid.hex: run for run in runs.only(*VERSION_COLUMNS, "status", model)}


def recorded_versions(names: Mapping[int, ModelName]) -> dict[int, dict[str, TrainingRun]]:
    """Our versions of each of these lineages in its model of that name, by their number there."""
    found: dict[int, dict[str, TrainingRun]] = {pk: {} for pk in names}
    rows = TrainingRun.objects.versions().filter(registered_model__in=list(names))
    for run in rows.only(*VERSION_COLUMNS, "aliases", "registered_at"):
        pk = run.registered_model_id
        if pk and is_same(run.vertex_model_resource_name, names[pk]):
            found[pk][run.vertex_model_version] = run
    return found


def version_row(version: RemoteModel, us: Identity) -> Json:
    """A version as the mirror keeps it."""
    made, labels = version.version_create_time or version.create_time, version.labels
    owner = labels.get(OWNER, "")
    return {
        "version": version.version,
        "aliases": sorted(version.aliases),
        "owner": owner,
        "theirs": us.is_another(owner, labels.get(INSTALLATION, "")),
        "run_uid": labels.get(RUN, "")[:32],
        "artifact_uri": version.artifact_uri,
        "created_at": made.isoformat() if made else "",
    }


def listed_versions(versions: Collection[RemoteModel]) -> list[ListedModel]:
    """Versions that were just read, as the mirror would have them."""
    us = identity()
    return [_listed(v.name, v.display_name, version_row(v, us)) for v in versions]


def mirrored_versions(row: MirroredModel) -> list[ListedModel]:
    """The versions of a mirrored model as they were last read; none if they could not be."""
    name = ModelName.parse(row.resource_name)
    return [_listed(name, row.display_name, version) for version in row.versions or ()]


def _listed(name: ModelName, display_name: str, version: Any) -> ListedModel:
    made = version["created_at"]
    return ListedModel(
        name=name,
        display_name=display_name,
        version=version["version"],
        aliases=tuple(version["aliases"]),
        owner=version["owner"],
        theirs=version["theirs"],
        run_uid=version["run_uid"],
        artifact_uri=version["artifact_uri"],
        created_at=datetime.fromisoformat(made) if made else None,
    )
