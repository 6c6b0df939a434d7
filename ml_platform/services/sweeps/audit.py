"""What an audit shows of a finished sweep: counts, the two tables, findings. It only reads tables.

Rows come as iterators, a chunk at a time, so that ten thousand models need no more memory than ten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db.models import Model, QuerySet

from ml_platform.cloud.names import ModelName
from ml_platform.conf import require_settings
from ml_platform.errors import Invalid, NotFound
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredArtifacts,
    MirroredModel,
    MirroredService,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.states import FindingKind
from ml_platform.services.access.scope import all_projects
from ml_platform.services.findings.exclusions import LEFT_OUT, chunks
from ml_platform.services.findings.store import standing

KINDS_OF_PLANE: Mapping[str, tuple[FindingKind, ...]] = {
    "vertex": (
        FindingKind.UNMANAGED,
        FindingKind.STALE_POINTER,
        FindingKind.VERSION_MISMATCH,
        FindingKind.SURPLUS_VERSION,
    ),
    "gcs": (FindingKind.ARTIFACTS_MISSING,),
    "cloud_run": (
        FindingKind.LEFTOVER_SERVICE,
        FindingKind.SERVICE_MISSING,
        FindingKind.SERVICE_MISMATCH,
    ),
}
"""What only a reading of that plane can tell; an orphan needs none."""


class AuditVerdict(StrEnum):
    """What an audit says as a whole."""

    AGREE = "agree"
    DIFFER = "differ"
    UNKNOWN = "unknown"


class Existence(StrEnum):
    """Whether Vertex AI has the model a row points at."""

    YES = "yes"
    NOT_LISTED = "not_listed"
    UNKNOWN = "unknown"
    NEVER_REGISTERED = "never_registered"
    NO_VERSION = "no_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexRow:
    """A model as Vertex AI listed it at `as_of`. `lineage` is ours, '' when no row points at it.

    `agrees` is None when the plane could not be read now, so that nobody knows.
    """

    model: str
    id: str
    resource_name: str
    version: str
    bucket: str
    lineage: str
    verdict: str
    agrees: bool | None
    as_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRow:
    """A lineage of ours. `looks` counts the sweeps in a row that did not see its model.

    `agrees` is None when nobody knows whether its model exists.
    """

    id: int
    project: str
    name: str
    resource_name: str
    versions: int
    exists: Existence
    looks: int
    agrees: bool | None


def find_project(name: str) -> Any:
    """The project of that name.

    :raises NotFound: there is none; the message lists those there are.
    """
    projects = {str(project): project for project in all_projects()}
    if name not in projects:
        known = ", ".join(sorted(projects)) or "none yet"
        raise NotFound(f"There is no project {name!r}.", advice=f"Projects are: {known}.")
    return projects[name]


def compare_sweep(sweep: Sweep, *, project: Model | None = None) -> AuditVerdict:
    """Whether the planes agree; unknown as soon as one of them could not be read."""
    if unread(sweep):
        return AuditVerdict.UNKNOWN
    return (
        AuditVerdict.DIFFER
        if of_project(Finding.objects.open(), project).exists()
        else AuditVerdict.AGREE
    )


def counts(sweep: Sweep, *, project: Model | None = None) -> dict[str, int | None]:
    """Counts by plane, of everything or of one project; None where a plane was not read."""
    names = ("rows", "registered", "vertex", "gcs", "cloud_run")
    if project is None:
        return {name: sweep.counts[name] for name in names}
    listed = sum(1 for _ in vertex_rows(sweep, project=project))
    return counts_of(sweep, projects=[project.pk], vertex=listed)


def counts_of(
    sweep: Sweep, *, projects: Collection[Any] | QuerySet[Any], vertex: int | None
) -> dict[str, int | None]:
    """Counts by plane of these projects; `vertex` is how many models of theirs were listed."""
    rows = RegisteredModel.objects.filter(project__in=projects)
    folders = TrainingRun.objects.versions().filter(
        project__in=projects, gcs_artifacts_path__in=MirroredArtifacts.objects.values("prefix")
    )
    services = DeployedEndpoint.objects.filter(
        project__in=projects, service_name__in=MirroredService.objects.values("service_name")
    )
    numbers = {
        "rows": rows.count(),
        "registered": rows.registered().count(),
        "vertex": vertex,
        "gcs": folders.count(),
        "cloud_run": services.count(),
    }
    missing = unread(sweep)
    return {name: None if name in missing else number for name, number in numbers.items()}


def left_out_of(sweep: Sweep, *, projects: Collection[Any]) -> dict[str, Any]:
    """How many rows of these projects the sweep held, and the first of them.

    A sweep of an earlier release did not keep whose they are: their number is unknown, not zero.
    """
    if "of" not in sweep.counts:
        return {"held": None, "left_out": []}
    found = [sweep.counts["of"][key] for pk in projects if (key := str(pk)) in sweep.counts["of"]]
    first = [told for part in found for told in part["left_out"]]
    return {"held": sum(part["held"] for part in found), "left_out": first[:LEFT_OUT]}


def unread(sweep: Sweep) -> list[str]:
    """The planes that the sweep could not read."""
    return [name for name, plane in sweep.planes.items() if not plane["read"]]


def unread_kinds(sweep: Sweep) -> list[FindingKind]:
    """The kinds of findings that it could not judge for that: what is known of them is old."""
    return [kind for name in unread(sweep) for kind in KINDS_OF_PLANE[name]]


def findings(*, project: Model | None = None) -> QuerySet[Finding]:
    """The findings that stand, the open ones first."""
    rows = of_project(standing(), project).select_related("project", "registered_model", "run")
    return rows.order_by("-status", "kind", "pk")


def of_project(rows: QuerySet[Finding], project: Model | None) -> QuerySet[Finding]:
    """Those that name the project; all for None."""
    return rows if project is None else rows.filter(project=project.pk)


def vertex_rows(sweep: Sweep, *, project: Model | None = None) -> Iterator[VertexRow]:
    """What Vertex AI listed, with what we make of it; for a project, what its rows point at."""
    read = bool(sweep.planes["vertex"]["read"])
    for chunk in chunks(MirroredModel.objects.all()):
        names = _both_forms([row.resource_name for row in chunk])
        lineages, found = _lineages_of(names), _findings_on(names)
        for row in chunk:
            lineage, finding = lineages.get(row.model_id), found.get(row.model_id)
            owner = lineage or finding
            if project is not None and (owner is None or owner.project_id != project.pk):
                continue
            yield VertexRow(
                model=row.display_name,
                id=row.model_id,
                resource_name=row.resource_name,
                version=row.version,
                bucket=row.artifact_uri.removeprefix("gs://").partition("/")[0],
                lineage=lineage.model_name if lineage else "",
                verdict=finding.kind if finding else "registered" if lineage else "in_progress",
                agrees=finding is None if read else None,
                as_of=row.seen_at.isoformat(),
            )


def our_rows(sweep: Sweep, *, project: Model | None = None) -> Iterator[OurRow]:
    """Our lineages, and whether the sweep saw their models in Vertex AI."""
    rows = RegisteredModel.objects.select_related("project")
    rows = rows if project is None else rows.filter(project=project.pk)
    read = bool(sweep.planes["vertex"]["read"])
    for chunk in chunks(rows):
        names = [row.vertex_model_resource_name for row in chunk if row.vertex_model_resource_name]
        listed = _listed(names) if read else set()
        found = _findings_on(names)
        for row in chunk:
            finding = found.get(_id_of(row.vertex_model_resource_name))
            exists = _existence(row, listed, read=read)
            yield OurRow(
                id=row.pk,
                project=str(row.project),
                name=row.model_name,
                resource_name=row.vertex_model_resource_name,
                versions=row.total_versions,
                exists=exists,
                looks=finding.consecutive_sightings if finding else 0,
                agrees=_agrees(row, finding, exists),
            )


def _agrees(row: RegisteredModel, finding: Finding | None, exists: Existence) -> bool | None:
    if exists == Existence.UNKNOWN:
        return None
    return finding is None and row.vertex_model_resource_name != ""


def _existence(row: RegisteredModel, listed: Collection[str], *, read: bool) -> Existence:
    name = row.vertex_model_resource_name
    if not name:
        return Existence.NEVER_REGISTERED if row.next_version == 1 else Existence.NO_VERSION
    if not read or not _is_here(name):
        return Existence.UNKNOWN
    return Existence.YES if _id_of(name) in listed else Existence.NOT_LISTED


def _is_here(name: str) -> bool:
    """Whether the listing would show it: it lies in our location (law 3)."""
    try:
        return ModelName.parse(name).location == require_settings().LOCATION
    except Invalid:
        return False


def _listed(names: Collection[str]) -> set[str]:
    ids = [_id_of(name) for name in names]
    return set(MirroredModel.objects.filter(model_id__in=ids).values_list("model_id", flat=True))


def _both_forms(names: Collection[str]) -> list[str]:
    """The names as Vertex AI says them, with the project's number, and with its id."""
    project = require_settings().PROJECT_ID
    return [*names, *(f"projects/{project}/{name.split('/', 2)[2]}" for name in names)]


def _lineages_of(names: Collection[str]) -> dict[str, RegisteredModel]:
    """The lineages that point at these models, by model id."""
    rows = RegisteredModel.objects.filter(vertex_model_resource_name__in=names)
    return {_id_of(row.vertex_model_resource_name): row for row in rows}


def _findings_on(names: Collection[str]) -> dict[str, Finding]:
    """The findings on these models, by model id."""
    found = standing().filter(kind__in=KINDS_OF_PLANE["vertex"], subject__in=names)
    return {_id_of(finding.subject): finding for finding in found}


def _id_of(resource_name: str) -> str:
    return resource_name.rpartition("/")[2]
