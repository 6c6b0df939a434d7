"""The total numbers of the dashboards, and when Vertex AI was last read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from django.db.models import (
    Count,
    Exists,
    F,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.functions import Now, StrIndex, Substr

from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredModel,
    ModelCount,
    RegisteredModel,
    Sweep,
    TrainingRun,
    TrainingSchedule,
    snapshot,
)
from ml_platform.models.endpoints.serving_truth import fresh_for
from ml_platform.models.prepared import Prepared, number
from ml_platform.models.states import (
    LIVE_SCHEDULE_STATES,
    TRAINING_RUN_STATUSES,
    RegistryState,
    ServingStatus,
)

Projects: TypeAlias = QuerySet[Any] | Collection[Any] | None
"""A queryset of projects or their ids."""
M = TypeVar("M", bound=Model)

NEVER_SWEPT = "No sweep has read Vertex AI yet."
_ENDPOINTS = {
    "endpoints_active": Count("pk", filter=Q(is_active=True)),
    "endpoints_total": Count("pk"),
}
_MODELS = {
    "models": Sum("n", default=0),
    "versions": Sum("versions", default=0),
    "deployed": Sum("n", filter=Q(serving=ServingStatus.DEPLOYED), default=0),
}
_TRAINS = Q(status__in=sorted(TRAINING_RUN_STATUSES))


@dataclass(frozen=True, slots=True, kw_only=True)
class FourCounts:
    """The number of registered models in each of the four places that show it."""

    database: int
    projects: int
    registry_page: int
    vertex: int | None
    vertex_reason: str = ""
    swept_at: datetime | None = None
    """When the newest finished sweep ended."""
    vertex_read_at: datetime | None = None
    """When Vertex AI was last read completely; older than `swept_at` when `vertex` is None."""
    vertex_last: int | None = None
    """What that reading counted; None when there was none."""
    points_at_nothing: int = 0
    """Registered models that the last reading did not list."""
    not_seen_yet: int = 0
    """Those registered since, or not listed once, which a second sweep must confirm."""

    @property
    def only_in_vertex(self) -> int | None:
        """Models that it listed and none of ours points at: `database - points_at_nothing -
        not_seen_yet + only_in_vertex` is `vertex`; None when that is unknown."""
        if self.vertex is None:
            return None
        return self.vertex - (self.database - self.points_at_nothing - self.not_seen_yet)

    @property
    def agree(self) -> bool | None:
        """Whether all four are equal; None when ours are, and Vertex AI is unknown."""
        ours = {self.database, self.projects, self.registry_page}
        if len(ours) > 1:
            return False
        return None if self.vertex is None else self.vertex in ours


@dataclass(frozen=True, slots=True, kw_only=True)
class _Totals:
    """`deployed` counts models by `ServingStatus.DEPLOYED`, so it is at most `models`."""

    models: int = 0
    versions: int = 0
    deployed: int = 0
    endpoints_active: int = 0
    endpoints_total: int = 0
    runs: int = 0
    runs_live: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets(_Totals):
    """The totals of all projects."""

    schedules_live: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectCard(_Totals):
    """The totals of a project."""

    project_id: Any
    name: str
    latest_registered_at: datetime | None = None


def registered_models(projects: Projects = None) -> QuerySet[RegisteredModel]:
    """Return the registered models of these projects. Every count and list here starts from it."""
    return of_projects(RegisteredModel.objects.registered(), projects)


def registry_page_models(projects: Projects = None) -> QuerySet[RegisteredModel]:
    """Return the rows of the Model Registry table: models with their newest version."""
    models = registered_models(projects).select_related("latest_run", "project")
    return models.filter(latest_run__isnull=False).order_by("-latest_registered_at", "-id")


def four_counts(projects: Projects = None) -> FourCounts:
    """Return the four counts. With projects, Vertex AI's count is of the models of those projects.

    Vertex AI is counted in the mirror of the newest sweep. Its count is None when that sweep could
    not read it, because an older reading may no longer be true.
    """
    with snapshot():
        reading = vertex_reading()
        [counts] = _four_counts(projects=projects, read_at=reading.read_at)
        last = counts.pop("vertex", None)
        return FourCounts(
            **counts,
            registry_page=counts["projects"],
            vertex=None if reading.unread else last,
            vertex_last=last,
            vertex_reason=reading.unread,
            swept_at=reading.swept_at,
            vertex_read_at=reading.read_at,
        )


@Prepared
def _four_counts(*, projects: Any, read_at: Any) -> Any:
    """The rows by their definition, the counters that the cards and the registry page show, and
    if Vertex AI was read what it listed and what it did not."""
    registered = registered_models(projects)
    counts = [
        number(registered, database=Count("pk")),
        number(ModelCount.objects.of(projects), projects=Sum("n", default=0)),
    ]
    if read_at is None:
        return counts
    listed = MirroredModel.objects.filter(model_id=OuterRef("model_id"))
    unlisted = _with_model_id(registered).filter(~Exists(listed))
    unsettled = Q(registry_state=RegistryState.SUSPECTED) | Q(latest_registered_at__gt=read_at)
    return [
        *counts,
        number(_vertex_models(projects), vertex=Count("pk")),
        number(
            unlisted,
            points_at_nothing=Count("pk", filter=~unsettled),
            not_seen_yet=Count("pk", filter=unsettled),
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexReading:
    """Whether the newest finished sweep read Vertex AI, and if not, why."""

    unread: str
    artifacts_unread: str
    """The same of the artifacts in Cloud Storage."""
    endpoints_unread: str
    """The same of the endpoints of Vertex AI."""
    services_unread: str
    """The same of the services on Cloud Run."""
    swept_at: datetime | None = None
    read_at: datetime | None = None
    """When Vertex AI was last read completely."""
    began_at: datetime | None = None
    """When that reading of Vertex AI began: what it judged as before is of that time."""
    fresh_since: datetime | None = None
    """What was last verified before this time is unknown now, by the clock of the database."""

    @property
    def serving_unread(self) -> str:
        """Why the newest sweep does not say what endpoints serve, '' when it does."""
        return self.services_unread or self.unread or self.artifacts_unread


def vertex_reading() -> VertexReading:
    """Return when Vertex AI was last read, and why not by the newest sweep."""
    newest = next(iter(_newest()), None)
    if newest is None:
        return VertexReading(
            unread=NEVER_SWEPT,
            artifacts_unread=NEVER_SWEPT,
            endpoints_unread=NEVER_SWEPT,
            services_unread=NEVER_SWEPT,
        )
    planes = newest["planes"]
    unread = unread_because(planes, "vertex")
    read = next(iter(_newest("vertex")), None) if unread else newest
    return VertexReading(
        unread=unread,
        artifacts_unread=unread_because(planes, "gcs"),
        endpoints_unread=unread_because(planes, "vertex_endpoints"),
        services_unread=unread_because(planes, "cloud_run"),
        swept_at=newest["finished_at"],
        read_at=read["finished_at"] if read else None,
        began_at=read["started_at"] if read else None,
        fresh_since=newest["now"] - fresh_for(),
    )


@Prepared
def _newest(plane: str = "") -> Any:
    """The newest finished sweep, or the newest that read that plane."""
    sweeps = Sweep.objects.that_read(plane) if plane else Sweep.objects.finished()
    return sweeps.annotate(now=Now()).values("planes", "started_at", "finished_at", "now")[:1]


def _vertex_models(projects: Any) -> QuerySet[MirroredModel]:
    mirror = MirroredModel.objects.filter(theirs=False)
    if projects is not None:
        ids = _with_model_id(registered_models(projects)).values("model_id")
        mirror = mirror.filter(model_id__in=ids)
    return mirror


def _with_model_id(models: QuerySet[RegisteredModel]) -> QuerySet[Any]:
    """The id of a model in Vertex AI is the last part of its resource name."""
    name = F("vertex_model_resource_name")
    return models.annotate(
        model_id=Substr(name, StrIndex(name, Value("/models/")) + len("/models/"))
    )


def unread_because(planes: Mapping[str, Any], plane: str) -> str:
    """Return why a sweep did not read that plane completely, '' when it did."""
    answer = planes.get(plane) or {}
    if answer.get("read"):
        return ""
    return str(answer.get("reason") or "That sweep did not read it.")


def assets(projects: Projects = None) -> Assets:
    """Return the numbers of the Assets card; one statement."""
    [numbers] = _assets(projects=projects)
    return Assets(**numbers)


@Prepared
def _assets(*, projects: Any) -> Any:
    runs = of_projects(TrainingRun.objects.all(), projects)
    live = of_projects(TrainingRun.objects.live().filter(_TRAINS), projects)
    schedules = of_projects(TrainingSchedule.objects.all(), projects)
    return [
        number(ModelCount.objects.of(projects), **_MODELS),
        number(of_projects(DeployedEndpoint.objects.all(), projects), **_ENDPOINTS),
        number(runs, runs=Count("pk")),
        number(live, runs_live=Count("pk")),
        number(schedules.filter(state__in=LIVE_SCHEDULE_STATES), schedules_live=Count("pk")),
    ]


def project_cards(projects: Iterable[Model]) -> tuple[ProjectCard, ...]:
    """Return a card for each of these projects, in their order, with five queries in total."""
    shown = list(projects)
    ids = [project.pk for project in shown]
    found: dict[Any, dict[str, Any]] = {key: {} for key in ids}
    for query in _CARD:
        for row in query(projects=ids):
            found[row.pop("project")].update(row)
    return tuple(
        ProjectCard(project_id=project.pk, name=str(project), **found[project.pk])
        for project in shown
    )


@Prepared
def _models_by_project(*, projects: Any) -> Any:
    return _by_project(ModelCount.objects.of(projects), **_MODELS)


@Prepared
def _newest_by_project(*, projects: Any) -> Any:
    """The newest registration, which an index has for each project."""
    models = RegisteredModel.objects.registered().filter(project=OuterRef("project"))
    newest = models.order_by("-latest_registered_at").values("latest_registered_at")[:1]
    there = _by_project(ModelCount.objects.of(projects))
    told: QuerySet[Any, Any] = there.annotate(latest_registered_at=Subquery(newest))
    return told


@Prepared
def _endpoints_by_project(*, projects: Any) -> Any:
    return _by_project(of_projects(DeployedEndpoint.objects.all(), projects), **_ENDPOINTS)


@Prepared
def _runs_by_project(*, projects: Any) -> Any:
    return _by_project(of_projects(TrainingRun.objects.all(), projects), runs=Count("pk"))


@Prepared
def _live_runs_by_project(*, projects: Any) -> Any:
    """By themselves, because an index has these few."""
    runs = of_projects(TrainingRun.objects.live().filter(_TRAINS), projects)
    return _by_project(runs, runs_live=Count("pk"))


_CARD = (
    _models_by_project,
    _newest_by_project,
    _endpoints_by_project,
    _runs_by_project,
    _live_runs_by_project,
)


def _by_project(rows: QuerySet[Any], **numbers: Any) -> Any:
    return rows.order_by().values("project").annotate(**numbers)


def open_findings(projects: Projects = None) -> dict[str, int]:
    """Return the number of open findings by kind; a finding counts for the project it names."""
    return {row["kind"]: row["n"] for row in _open_findings(projects=projects)}


@Prepared
def _open_findings(*, projects: Any) -> Any:
    found = of_projects(Finding.objects.open(), projects).order_by().values("kind")
    return found.annotate(n=Count("pk"))


def of_projects(rows: QuerySet[M], projects: Projects) -> QuerySet[M]:
    """Return the rows of these projects."""
    if projects is None:
        return rows
    if isinstance(projects, QuerySet):
        projects = projects.order_by().values("pk")
    return rows.filter(project__in=projects)
