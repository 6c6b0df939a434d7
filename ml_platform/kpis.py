"""The numbers of the dashboards: read only, a fixed number of queries, never a call to Google.

`projects` narrows a number to those projects; None means the whole installation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeAlias, TypeVar

from django.db.models import (
    CharField,
    Count,
    Exists,
    F,
    Max,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Sum,
    Value,
)
from django.db.models.functions import Cast, Coalesce, StrIndex, Substr

from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredModel,
    RegisteredModel,
    ServiceDailyMetrics,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import (
    LIVE_SCHEDULE_STATES,
    STANDING_FINDING_STATUSES,
    TRAINING_RUN_STATUSES,
)

Projects: TypeAlias = QuerySet[Any] | Collection[Any] | None
"""A queryset of projects or their ids."""
M = TypeVar("M", bound=Model)

TRAFFIC_DAYS = 7
WORST_P95 = "The p95 latency of the worst of the last seven full days."
NEVER_SWEPT = "No sweep has read Vertex AI yet."
_TRAINING = Q(status__in=sorted(TRAINING_RUN_STATUSES))


@dataclass(frozen=True, slots=True, kw_only=True)
class FourCounts:
    """The number of registered models as each of the four places tells it (incident.md)."""

    database: int
    projects: int
    registry_page: int
    vertex: int | None
    vertex_reason: str = ""
    swept_at: datetime | None = None
    """When the newest finished sweep ended."""
    vertex_read_at: datetime | None = None
    """When Vertex AI was last read completely; older than `swept_at` when `vertex` is None."""

    @property
    def agree(self) -> bool | None:
        """Whether all four are one number; None while ours agree and Vertex AI is unknown."""
        ours = {self.database, self.projects, self.registry_page}
        if len(ours) > 1:
            return False
        return None if self.vertex is None else self.vertex in ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Assets:
    """What there is. `deployed` counts models that at least one active endpoint serves."""

    models: int
    versions: int
    deployed: int
    endpoints_active: int
    endpoints_total: int
    runs: int
    runs_live: int
    schedules_live: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectCard:
    """What a project has. `deployed` counts models that at least one active endpoint serves."""

    project_id: Any
    name: str
    models: int = 0
    versions: int = 0
    deployed: int = 0
    endpoints_active: int = 0
    endpoints_total: int = 0
    runs: int = 0
    runs_live: int = 0
    latest_registered_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """How many of today's models and versions were registered by the end of that day."""

    day: date
    models: int
    versions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Requests of the last seven full days, of the seven before, and the worst p95 of the last."""

    requests: int
    before: int
    p95: float | None
    days: tuple[int, ...]
    """Requests a day, 14 days, the newest last."""


def registered_models(projects: Projects = None) -> QuerySet[RegisteredModel]:
    """The registered lineages of these projects: every count and list here starts from it."""
    return _of(RegisteredModel.objects.registered(), projects)


def registry_page_models(projects: Projects = None) -> QuerySet[RegisteredModel]:
    """What the Model Registry table lists: each lineage with its newest version, newest first."""
    models = registered_models(projects).select_related("latest_run", "project")
    return models.filter(latest_run__isnull=False).order_by("-latest_registered_at", "-id")


def four_counts(projects: Projects = None) -> FourCounts:
    """The four counts. For some projects only, Vertex AI's count is of what it holds of theirs.

    Vertex AI is the mirror of the newest sweep; its count is None when that sweep could not read
    it, because an older one says nothing about now.
    """
    reading = vertex_reading()
    return FourCounts(
        database=registered_models(projects).count(),
        projects=sum(row["models"] for row in _models_by_project(projects).values()),
        registry_page=registry_page_models(projects).count(),
        vertex=None if reading.unread else _vertex_count(projects),
        vertex_reason=reading.unread,
        swept_at=reading.swept_at,
        vertex_read_at=reading.read_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VertexReading:
    """Whether the newest finished sweep read Vertex AI, or why not."""

    unread: str
    swept_at: datetime | None = None
    read_at: datetime | None = None
    """When Vertex AI was last read completely."""


def vertex_reading() -> VertexReading:
    """How old and how good our knowledge of Vertex AI is."""
    finished = Sweep.objects.finished()
    newest = finished.first()
    if newest is None:
        return VertexReading(unread=NEVER_SWEPT)
    unread = unread_because(newest.planes, "vertex")
    read = finished.filter(planes__vertex__read=True).first() if unread else newest
    return VertexReading(
        unread=unread,
        swept_at=newest.finished_at,
        read_at=read.finished_at if read else None,
    )


def plane_unread(plane: str) -> str:
    """Why the newest finished sweep did not read that plane, '' when it did."""
    newest = Sweep.objects.finished().first()
    return NEVER_SWEPT if newest is None else unread_because(newest.planes, plane)


def _vertex_count(projects: Projects) -> int:
    mirror = MirroredModel.objects.all()
    if projects is not None:
        mirror = mirror.filter(model_id__in=_model_ids(projects))
    return mirror.count()


def unread_because(planes: Mapping[str, Any], plane: str) -> str:
    """Why a sweep did not read that plane completely, '' when it did."""
    answer = planes.get(plane) or {}
    if answer.get("read"):
        return ""
    return str(answer.get("reason") or "That sweep did not read it.")


def _model_ids(projects: Projects) -> QuerySet[RegisteredModel, Any]:
    """Vertex model ids that these projects point at; the last part of a resource name."""
    name = F("vertex_model_resource_name")
    start = StrIndex(name, Value("/models/")) + len("/models/")
    return registered_models(projects).annotate(model_id=Substr(name, start)).values("model_id")


def assets(projects: Projects = None) -> Assets:
    """The numbers of the Assets card."""
    models = registered_models(projects).aggregate(
        models=Count("pk"), versions=Coalesce(Sum("total_versions"), 0)
    )
    active = Q(is_active=True)
    endpoints = _of(DeployedEndpoint.objects.all(), projects).aggregate(
        deployed=Count("registered_model", filter=active, distinct=True),
        endpoints_active=Count("pk", filter=active),
        endpoints_total=Count("pk"),
    )
    runs = _of(TrainingRun.objects.all(), projects)
    schedules = _of(TrainingSchedule.objects.all(), projects)
    return Assets(
        **models,
        **endpoints,
        runs=runs.count(),
        runs_live=runs.filter(_TRAINING).count(),
        schedules_live=schedules.filter(state__in=LIVE_SCHEDULE_STATES).count(),
    )


def project_cards(projects: Iterable[Model]) -> tuple[ProjectCard, ...]:
    """A card for each of these projects, in their order; three queries, however many they are."""
    shown = list(projects)
    ids = [project.pk for project in shown]
    tables = (_models_by_project(ids), _endpoints_by_project(ids), _runs_by_project(ids))
    return tuple(
        ProjectCard(
            project_id=project.pk,
            name=str(project),
            **{k: v for table in tables for k, v in table.get(project.pk, {}).items()},
        )
        for project in shown
    )


def _models_by_project(projects: Projects) -> dict[Any, dict[str, Any]]:
    return _rows(
        registered_models(projects)
        .order_by()
        .values("project")
        .annotate(
            models=Count("pk"),
            versions=Sum("total_versions"),
            latest_registered_at=Max("latest_registered_at"),
        )
    )


def _endpoints_by_project(projects: Projects) -> dict[Any, dict[str, Any]]:
    active = Q(is_active=True)
    return _rows(
        _of(DeployedEndpoint.objects.all(), projects)
        .values("project")
        .annotate(
            deployed=Count("registered_model", filter=active, distinct=True),
            endpoints_active=Count("pk", filter=active),
            endpoints_total=Count("pk"),
        )
    )


def _runs_by_project(projects: Projects) -> dict[Any, dict[str, Any]]:
    return _rows(
        _of(TrainingRun.objects.all(), projects)
        .values("project")
        .annotate(runs=Count("pk"), runs_live=Count("pk", filter=_TRAINING))
    )


def traffic(projects: Projects, *, today: date) -> dict[Any, Traffic]:
    """The traffic of these projects' services, for those that Cloud Monitoring was read of."""
    return _traffic_by("project", _of(ServiceDailyMetrics.objects.all(), projects), today)


def service_traffic(names: Collection[str], *, project_id: Any, today: date) -> dict[str, Traffic]:
    """The traffic of a project's services, by the same definitions.

    A name may have been another project's before; its days are not this one's.
    """
    rows = ServiceDailyMetrics.objects.filter(service_name__in=names, project=project_id)
    return _traffic_by("service_name", rows, today)


def _traffic_by(
    column: str, rows: QuerySet[ServiceDailyMetrics], today: date
) -> dict[Any, Traffic]:
    first = today - timedelta(days=2 * TRAFFIC_DAYS)
    days = (
        rows.filter(day__gte=first, day__lt=today)
        .order_by()
        .values(column, "day")
        .annotate(requests=Coalesce(Sum("requests"), 0), p95=Max("latency_p95"))
    )
    found: dict[Any, dict[int, Mapping[str, Any]]] = {}
    for row in days:
        found.setdefault(row[column], {})[(row["day"] - first).days] = row
    return {key: _traffic(by_day) for key, by_day in found.items()}


def _traffic(by_day: Mapping[int, Mapping[str, Any]]) -> Traffic:
    counts = [by_day[n]["requests"] if n in by_day else 0 for n in range(2 * TRAFFIC_DAYS)]
    worst = [by_day[n]["p95"] for n in by_day if n >= TRAFFIC_DAYS]
    return Traffic(
        requests=sum(counts[TRAFFIC_DAYS:]),
        before=sum(counts[:TRAFFIC_DAYS]),
        p95=max((p95 for p95 in worst if p95 is not None), default=None),
        days=tuple(counts),
    )


def _of(rows: QuerySet[M], projects: Projects) -> QuerySet[M]:
    if projects is None:
        return rows
    if isinstance(projects, QuerySet):
        projects = projects.order_by().values("pk")
    return rows.filter(project__in=projects)


def _rows(grouped: QuerySet[Any, Any]) -> dict[Any, dict[str, Any]]:
    return {row.pop("project"): row for row in grouped}


def history(*, today: date, days: int = 90, projects: Projects = None) -> tuple[HistoryPoint, ...]:
    """Today's models and versions by the day they were registered, one point a day, added up.

    Only what these days brought is read; the rest is today's numbers without it.
    """
    first_day = today - timedelta(days=days - 1)
    since = datetime.combine(first_day, time.min, tzinfo=UTC)
    versions = TrainingRun.objects.versions()
    recent = _of(versions, projects).filter(registered_at__gte=since)
    earlier = versions.filter(
        registered_model=OuterRef("registered_model"), version__lt=OuterRef("version")
    )
    new_versions = _by_day(recent)
    new_models = _by_day(recent.filter(~Exists(earlier)))
    now = registered_models(projects).aggregate(
        models=Count("pk"), versions=Coalesce(Sum("total_versions"), 0)
    )
    total_models = now["models"] - sum(new_models.values())
    total_versions = now["versions"] - sum(new_versions.values())
    points: list[HistoryPoint] = []
    for offset in range(days):
        day = first_day + timedelta(days=offset)
        total_models += new_models.get(day, 0)
        total_versions += new_versions.get(day, 0)
        points.append(HistoryPoint(day=day, models=total_models, versions=total_versions))
    return tuple(points)


def drift_history(*, today: date, days: int = 90, projects: Projects = None) -> tuple[int, ...]:
    """How many findings stood at the end of each day, the ignored ones too; the newest last."""
    first_day = today - timedelta(days=days - 1)
    since = datetime.combine(first_day, time.min, tzinfo=UTC)
    rows = _of(Finding.objects.all(), projects)
    came = _by_day(rows.filter(first_seen_at__gte=since), "first_seen_at")
    went = _by_day(rows.filter(ended_at__gte=since), "ended_at")
    standing = rows.filter(status__in=STANDING_FINDING_STATUSES).count()
    counts: list[int] = []
    for offset in range(days):
        day = today - timedelta(days=offset)
        counts.append(standing)
        standing += went.get(day, 0) - came.get(day, 0)
    return tuple(reversed(counts))


def _by_day(rows: QuerySet[M], column: str = "registered_at") -> dict[date, int]:
    """How many rows have a time on each day, by the beginning of the time as text.

    Both databases hold times in UTC and write the day first; truncating would call back into
    Python for each row on SQLite.
    """
    day = Substr(Cast(column, CharField()), 1, 10)
    days = rows.order_by().annotate(day=day).values("day").annotate(n=Count("pk"))
    return {date.fromisoformat(row["day"]): row["n"] for row in days}


def open_findings(projects: Projects = None) -> dict[str, int]:
    """How many findings are open, by kind. Some projects' findings are those that name them."""
    found = _of(Finding.objects.open(), projects).order_by().values("kind")
    return {row["kind"]: row["n"] for row in found.annotate(n=Count("pk"))}
