"""The total numbers of the dashboards, and when Vertex AI was last read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from django.db.models import Count, F, Max, Model, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Now, StrIndex, Substr

from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredModel,
    RegisteredModel,
    Sweep,
    TrainingRun,
    TrainingSchedule,
    snapshot,
)
from ml_platform.models.endpoints.serving_status import ServingStatus, has_serving_status
from ml_platform.models.endpoints.serving_truth import fresh_for
from ml_platform.models.prepared import Prepared, number
from ml_platform.models.states import (
    LIVE_SCHEDULE_STATES,
    TRAINING_RUN_STATUSES,
    RegistryState,
)

Projects: TypeAlias = QuerySet[Any] | Collection[Any] | None
"""A queryset of projects or their ids."""
M = TypeVar("M", bound=Model)

NEVER_SWEPT = "No sweep has read Vertex AI yet."
_ENDPOINTS = {
    "endpoints_active": Count("pk", filter=Q(is_active=True)),
    "endpoints_total": Count("pk"),
}
_RUNS = {
    "runs": Count("pk"),
    "runs_live": Count("pk", filter=Q(status__in=sorted(TRAINING_RUN_STATUSES))),
}
_SCHEDULES = {"schedules_live": Count("pk", filter=Q(state__in=LIVE_SCHEDULE_STATES))}


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
        [ours] = _listed(projects=projects, read_at=reading.read_at)
        last = _vertex_count(projects=projects)[0]["n"] if reading.read_at else None
        return FourCounts(
            **ours,
            projects=sum(row["models"] for row in _models_of(projects=projects)),
            registry_page=_page_count(projects=projects)[0]["n"],
            vertex=None if reading.unread else last,
            vertex_last=last,
            vertex_reason=reading.unread,
            swept_at=reading.swept_at,
            vertex_read_at=reading.read_at,
        )


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
    fresh_since: datetime | None = None
    """What was last verified before this time is unknown now, by the clock of the database."""

    @property
    def serving_unread(self) -> str:
        """Why the newest sweep does not say what endpoints serve, '' when it does."""
        return self.services_unread or self.unread or self.artifacts_unread


def vertex_reading() -> VertexReading:
    """Return when Vertex AI was last read, and why not by the newest sweep."""
    [newest] = _newest() or [None]
    if newest is None:
        return VertexReading(
            unread=NEVER_SWEPT,
            artifacts_unread=NEVER_SWEPT,
            endpoints_unread=NEVER_SWEPT,
            services_unread=NEVER_SWEPT,
        )
    unread = unread_because(newest.planes, "vertex")
    [read] = (_newest("vertex") or [None]) if unread else [newest]
    return VertexReading(
        unread=unread,
        artifacts_unread=unread_because(newest.planes, "gcs"),
        endpoints_unread=unread_because(newest.planes, "vertex_endpoints"),
        services_unread=unread_because(newest.planes, "cloud_run"),
        swept_at=newest.finished_at,
        read_at=read.finished_at if read else None,
        fresh_since=newest.now - fresh_for(),
    )


@Prepared
def _newest(*read: str) -> QuerySet[Any]:
    """The newest finished sweep that read these planes."""
    finished = Sweep.objects.finished().filter(**{f"planes__{plane}__read": True for plane in read})
    return finished.annotate(now=Now())[:1]


@Prepared
def _models_of(*, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    return _by_project(registered_models(projects), {"models": Count("pk")})


@Prepared
def _page_count(*, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    return number(registry_page_models(projects), n=Count("pk"))


@Prepared
def _vertex_count(*, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    mirror = MirroredModel.objects.filter(theirs=False)
    if projects is not None:
        ids = _with_model_id(registered_models(projects)).values("model_id")
        mirror = mirror.filter(model_id__in=ids)
    return number(mirror, n=Count("pk"))


def _with_model_id(models: QuerySet[RegisteredModel]) -> QuerySet[Any]:
    """The id of a model in Vertex AI is the last part of its resource name."""
    name = F("vertex_model_resource_name")
    return models.annotate(
        model_id=Substr(name, StrIndex(name, Value("/models/")) + len("/models/"))
    )


@Prepared
def _listed(*, projects: Any, read_at: Any) -> QuerySet[Any, dict[str, Any]]:
    """How many there are, and how many of them the last reading of Vertex AI did not list."""
    models = _with_model_id(registered_models(projects))
    if read_at is None:
        return number(models, database=Count("pk"))
    unlisted = ~Q(model_id__in=MirroredModel.objects.values("model_id"))
    unsettled = Q(registry_state=RegistryState.SUSPECTED) | Q(latest_registered_at__gt=read_at)
    return number(
        models,
        database=Count("pk"),
        points_at_nothing=Count("pk", filter=unlisted & ~unsettled),
        not_seen_yet=Count("pk", filter=unlisted & unsettled),
    )


def unread_because(planes: Mapping[str, Any], plane: str) -> str:
    """Return why a sweep did not read that plane completely, '' when it did."""
    answer = planes.get(plane) or {}
    if answer.get("read"):
        return ""
    return str(answer.get("reason") or "That sweep did not read it.")


def assets(projects: Projects = None) -> Assets:
    """Return the numbers of the Assets card."""
    return Assets(
        **{
            name: count
            for part in _ASSETS
            for name, count in _assets(part, projects=projects)[0].items()
        }
    )


_ASSETS: Mapping[str, tuple[Callable[[], QuerySet[Any]], Callable[[], Mapping[str, Any]]]] = {
    "models": (RegisteredModel.objects.registered, lambda: _models()),
    "endpoints": (DeployedEndpoint.objects.all, lambda: _ENDPOINTS),
    "runs": (TrainingRun.objects.all, lambda: _RUNS),
    "schedules": (TrainingSchedule.objects.all, lambda: _SCHEDULES),
}
"""The tables of the Assets card with their numbers."""


@Prepared
def _assets(part: str, *, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    rows, numbers = _ASSETS[part]
    return number(of_projects(rows(), projects), **numbers())


@Prepared
def _cards(part: str, *, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    rows, numbers = _ASSETS[part]
    latest = {"latest_registered_at": Max("latest_registered_at")} if part == "models" else {}
    return _by_project(of_projects(rows(), projects), {**numbers(), **latest})


def project_cards(projects: Iterable[Model]) -> tuple[ProjectCard, ...]:
    """Return a card for each of these projects, in their order, with three queries in total."""
    shown = list(projects)
    ids = [project.pk for project in shown]
    tables = [
        {row.pop("project"): row for row in _cards(part, projects=ids)}
        for part in ("models", "endpoints", "runs")
    ]
    return tuple(
        ProjectCard(
            project_id=project.pk,
            name=str(project),
            **{k: v for table in tables for k, v in table.get(project.pk, {}).items()},
        )
        for project in shown
    )


def open_findings(projects: Projects = None) -> dict[str, int]:
    """Return the number of open findings by kind; a finding counts for the project it names."""
    return {row["kind"]: row["n"] for row in _open(projects=projects)}


@Prepared
def _open(*, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    found = of_projects(Finding.objects.open(), projects).order_by().values("kind")
    return found.annotate(n=Count("pk"))


def _models() -> dict[str, Any]:
    return {
        "models": Count("pk"),
        "versions": Coalesce(Sum("total_versions"), 0),
        "deployed": Count("pk", filter=has_serving_status(ServingStatus.DEPLOYED)),
    }


def _by_project(rows: QuerySet[Any], numbers: Mapping[str, Any]) -> QuerySet[Any, dict[str, Any]]:
    return rows.order_by().values("project").annotate(**numbers)


def of_projects(rows: QuerySet[M], projects: Projects) -> QuerySet[M]:
    """Return the rows of these projects."""
    if projects is None:
        return rows
    if isinstance(projects, QuerySet):
        projects = projects.order_by().values("pk")
    return rows.filter(project__in=projects)
