"""What an audit shows of a finished sweep: counts, the two tables, findings. It only reads tables.

Rows are yielded a chunk at a time, so that memory does not grow with the number of models.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db.models import Model, QuerySet

from ml_platform.cloud.names import ModelName, spellings
from ml_platform.conf import require_settings
from ml_platform.errors import Invalid
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredArtifacts,
    MirroredEndpoint,
    MirroredJob,
    MirroredModel,
    MirroredService,
    RegisteredModel,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.endpoints import serving_truth
from ml_platform.models.endpoints.serving_status import with_serving_status
from ml_platform.models.endpoints.serving_truth import ServingTruth
from ml_platform.models.registry.registered_model import RegisteredModelQuerySet
from ml_platform.models.sweeps.sweep import or_read
from ml_platform.services.findings.exclusions import LEFT_OUT, chunks
from ml_platform.services.findings.kinds import Kind, kinds_of, worst_first
from ml_platform.services.findings.store import standing
from ml_platform.services.mirror.brake import PlaneShrunk
from ml_platform.services.mirror.project_names import project_names, project_number
from ml_platform.services.mirror.vertex_endpoints import count_serving as count_served

DECIDE_NO_COUNT = frozenset({"scheduler", "vertex_endpoints"})


class AuditVerdict(StrEnum):
    """The overall result of an audit."""

    AGREE = "agree"
    DIFFER = "differ"
    UNKNOWN = "unknown"


class Existence(StrEnum):
    """Whether Vertex AI has the model that a record points at."""

    YES = "yes"
    NOT_LISTED = "not_listed"
    UNKNOWN = "unknown"
    NEVER_REGISTERED = "never_registered"
    NO_VERSION = "no_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexRow:
    """A model as Vertex AI listed it at `as_of`.

    `lineage` is the name of our model that points at it, '' for none. `agrees` is None when this
    sweep could not read Vertex AI.
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
    """One of our models. `looks` counts the consecutive sweeps that did not see it in Vertex AI.

    `agrees` is None when it is unknown whether it exists there.
    """

    id: int
    project: str
    name: str
    resource_name: str
    versions: int
    serving: str
    """Deployed, outdated or idle; '' for a model that is not registered."""
    exists: Existence
    looks: int
    agrees: bool | None


def compare_sweep(sweep: Sweep, *, project: Model | None = None) -> AuditVerdict:
    """Return whether the planes agree, and all that active endpoints serve is verified.

    It is unknown when a plane could not be read; but those that decide no count hide no difference
    between the others. A plane that has shrunk was read, and differs: its alarm is a finding.
    """
    blind = {name for name in unread(sweep) if sweep.planes[name].get("code") != PlaneShrunk.code}
    if blind - DECIDE_NO_COUNT:
        return AuditVerdict.UNKNOWN
    found = Finding.objects.open().exclude(kind__in=unread_kinds(sweep))
    serving = count_serving(sweep, project=project)
    if of_project(found, project).exists() or serving["serving"] != serving["endpoints"]:
        return AuditVerdict.DIFFER
    return AuditVerdict.UNKNOWN if blind else AuditVerdict.AGREE


def count_serving(sweep: Sweep, *, project: Model | None = None) -> dict[str, int | None]:
    """Return the number of active endpoints, and of those whose traffic all goes to versions that
    are registered, verified and unchanged; None where the sweep could not read a plane."""
    rows = DeployedEndpoint.objects.all()
    rows = rows if project is None else rows.filter(project=project.pk)
    counts = serving_truth.count_serving(rows, now=sweep.finished_at or sweep.started_at)
    by_truth = {truth: sum(found.values()) for truth, found in counts.items()}
    known = not set(unread(sweep)) & set(serving_truth.PLANES)
    return {
        "endpoints": sum(by_truth.values()),
        "serving": by_truth[ServingTruth.VERIFIED] if known else None,
    }


def counts(sweep: Sweep, *, project: Model | None = None) -> dict[str, int | None]:
    """Return the counts by plane, in total or of one project; None where a plane was not read.

    They are of the tables as they are now, as are the rows that an audit shows beside them.
    """
    if project is None:
        tables = {
            "vertex": MirroredModel.objects,
            "gcs": MirroredArtifacts.objects,
            "cloud_run": MirroredService.objects,
            "scheduler": MirroredJob.objects,
            "vertex_endpoints": MirroredEndpoint.objects,
        }
        remote = {name: table.count() for name, table in tables.items()}
        found = _known(sweep, _ours(RegisteredModel.objects.all()) | remote)
    else:
        listed = sum(1 for _ in vertex_rows(sweep, project=project))
        found = counts_of(sweep, projects=[project.pk], vertex=listed)
    return found | count_serving(sweep, project=project)


def counts_of(
    sweep: Sweep, *, projects: Collection[Any] | QuerySet[Any], vertex: int | None
) -> dict[str, int | None]:
    """Return the counts by plane of these projects; `vertex` is their number of listed models."""
    rows = RegisteredModel.objects.filter(project__in=projects)
    folders = TrainingRun.objects.versions().filter(
        project__in=projects, gcs_artifacts_path__in=MirroredArtifacts.objects.values("prefix")
    )
    services = DeployedEndpoint.objects.filter(
        project__in=projects, service_name__in=MirroredService.objects.values("service_name")
    )
    jobs = TrainingSchedule.objects.filter(
        project__in=projects, scheduler_job_name__in=MirroredJob.objects.values("resource_name")
    )
    remote = {
        "vertex": vertex,
        "gcs": folders.count(),
        "cloud_run": services.count(),
        "scheduler": jobs.count(),
        "vertex_endpoints": count_served(rows),
    }
    return _known(sweep, _ours(rows) | remote)


def _ours(rows: RegisteredModelQuerySet) -> dict[str, int | None]:
    return {"rows": rows.count(), "registered": rows.registered().count()}


def _known(sweep: Sweep, numbers: Mapping[str, int | None]) -> dict[str, int | None]:
    # A sweep of the release before has fewer planes.
    missing = {*unread(sweep), *(DECIDE_NO_COUNT - sweep.planes.keys())}
    return {name: None if name in missing else number for name, number in numbers.items()}


def left_out_of(sweep: Sweep, *, projects: Collection[Any]) -> dict[str, Any]:
    """Return how many rows of these projects the sweep left out, and the first of them.

    A sweep of an earlier release did not store their projects: the number is unknown, not zero.
    """
    if "of" not in sweep.counts:
        return {"held": None, "left_out": []}
    found = [sweep.counts["of"][key] for pk in projects if (key := str(pk)) in sweep.counts["of"]]
    first = [row for part in found for row in part["left_out"]]
    return {"held": sum(part["held"] for part in found), "left_out": first[:LEFT_OUT]}


def unread(sweep: Sweep) -> list[str]:
    """Return the planes that the sweep could not read."""
    return [name for name, plane in sweep.planes.items() if not plane["read"]]


def unread_kinds(sweep: Sweep) -> list[Kind]:
    """Return the kinds of findings that the sweep could not compare: those findings are old."""
    return [kind for name in unread(sweep) for kind in kinds_of(name)]


def findings(*, project: Model | None = None) -> QuerySet[Finding]:
    """Return the standing findings: the open ones first, each group worst first."""
    rows = of_project(standing(), project).select_related("project", "registered_model", "run")
    return rows.order_by("-status", worst_first(), "pk")


def of_project(rows: QuerySet[Finding], project: Model | None) -> QuerySet[Finding]:
    """Return the findings of the project; all for None."""
    return rows if project is None else rows.filter(project=project.pk)


def vertex_rows(sweep: Sweep, *, project: Model | None = None) -> Iterator[VertexRow]:
    """Yield what Vertex AI listed, with our verdict; for a project, only what concerns it."""
    read = bool(sweep.planes["vertex"]["read"])
    projects = project_names(project_number())
    rows: QuerySet[Any] = MirroredModel.objects.annotate(last_seen_at=or_read("seen_at", "vertex"))
    for chunk in chunks(rows):
        listed = (ModelName.parse(row.resource_name) for row in chunk)
        names = [name for each in listed for name in spellings(each, projects)]
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
                verdict=_verdict(row, lineage, finding),
                agrees=finding is None if read else None,
                as_of=row.last_seen_at.isoformat(),
            )


def _verdict(row: MirroredModel, lineage: RegisteredModel | None, finding: Finding | None) -> str:
    if finding:
        return finding.kind
    if lineage:
        return "registered"
    return "another_installation" if row.theirs else "in_progress"


def our_rows(sweep: Sweep, *, project: Model | None = None) -> Iterator[OurRow]:
    """Yield our models, and whether the sweep saw them in Vertex AI."""
    rows = RegisteredModel.objects.select_related("project")
    rows = rows if project is None else rows.filter(project=project.pk)
    read = bool(sweep.planes["vertex"]["read"])
    for chunk in chunks(with_serving_status(rows)):
        names = [row.vertex_model_resource_name for row in chunk if row.vertex_model_resource_name]
        here = MirroredModel.objects.filter(model_id__in=[_id_of(name) for name in names])
        listed = set(here.values_list("model_id", flat=True)) if read else set()
        found = _findings_on(names)
        for row in chunk:
            name = row.vertex_model_resource_name
            finding, exists = found.get(_id_of(name)), _existence(row, listed, read=read)
            yield OurRow(
                id=row.pk,
                project=str(row.project),
                name=row.model_name,
                resource_name=name,
                versions=row.total_versions,
                serving=row.serving_status if row.total_versions else "",
                exists=exists,
                looks=finding.consecutive_sightings if finding else 0,
                agrees=None if exists == Existence.UNKNOWN else not finding and bool(name),
            )


def _existence(row: RegisteredModel, listed: Collection[str], *, read: bool) -> Existence:
    name = row.vertex_model_resource_name
    if not name:
        return Existence.NEVER_REGISTERED if row.next_version == 1 else Existence.NO_VERSION
    if not read or not _is_here(name):
        return Existence.UNKNOWN
    return Existence.YES if _id_of(name) in listed else Existence.NOT_LISTED


def _is_here(name: str) -> bool:
    """Whether a listing of our location would show it; otherwise its absence is inconclusive."""
    try:
        return ModelName.parse(name).location == require_settings().LOCATION
    except Invalid:
        return False


def _lineages_of(names: Collection[str]) -> dict[str, RegisteredModel]:
    """Return the lineages that point at these models, by model id."""
    rows = RegisteredModel.objects.filter(vertex_model_resource_name__in=names)
    return {_id_of(row.vertex_model_resource_name): row for row in rows}


def _findings_on(names: Collection[str]) -> dict[str, Finding]:
    """Return the findings on these models, by model id."""
    found = standing().filter(kind__in=kinds_of("vertex"), subject__in=names)
    return {_id_of(finding.subject): finding for finding in found}


def _id_of(resource_name: str) -> str:
    return resource_name.rpartition("/")[2]
