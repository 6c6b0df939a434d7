"""The list of registered models: its page is one statement, whose rows the database writes as JSON.

What the database cannot know is put in front of each row: the project's name, which the host's
`__str__` says, the registry's verdict, and the address.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any, Self

from django.db.models import (
    Case,
    Count,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.db.models.lookups import LessThan

from ml_platform.kpis import VertexReading, registered_models
from ml_platform.models import DeployedEndpoint, ModelCount, RegisteredModel, TrainingRun
from ml_platform.models.endpoints.serving_status import ServingStatus
from ml_platform.models.json_text import JsonObject, as_text
from ml_platform.models.prepared import Prepared, number
from ml_platform.pagination import Order, Page, Start, ordered, page_of, start_of
from ml_platform.services.access.scope import all_projects
from ml_platform.services.artifacts.manifest import files_checked_at
from ml_platform.services.registry.model_list import model_filter, read_by_metric
from ml_platform.services.registry.registry_state import registry_answered_at, registry_verdict
from ml_platform.services.registry.search import count_found

from .base import project_json, to_json
from .models import METRIC, SORTS, VERSION, ModelsQuery

Row = Mapping[str, Any]
IN_FRONT = ("project", "registry_verified", "registry_reason", "url")
"""What Python puts in front of the fields that the database writes."""
VERIFIED_LIVE = (
    "latest_run", "latest_run__uid", "model_name", "latest_run__vertex_model_resource_name",
    "latest_run__vertex_model_version",
)  # fmt: skip
"""Columns that `?verify=live` needs beside them."""
NEVER, OLD, FRESH = range(3)
"""When Vertex AI last answered about a model."""
COUNTED_BY = {
    "project": "project",
    "model_type": "model_type",
    "status": "serving",
    "blessed": "is_blessed",
    "registry_state": "registry_state",
}
"""Filter -> the property of a `ModelCount`."""


def fields_of_item() -> dict[str, Any]:
    """The fields of an item that the database writes."""
    columns = {name: F(f"latest_run__{path}") for name, path in VERSION.items()}
    version = JsonObject(**columns | {"files_checked_at": files_checked_at("latest_run__")})
    active = DeployedEndpoint.objects.filter(is_active=True, registered_model=OuterRef("pk"))
    newest = JsonObject(id="pk", service_name="service_name", url="url", version="run__version")
    counted = active.order_by().values("registered_model").annotate(n=Count("pk"))
    return {
        "id": F("pk"),
        "name": F("model_name"),
        "type": F("model_type"),
        "versions": F("total_versions"),
        "latest_version": Case(When(latest_run__isnull=False, then=version)),
        "deployment": JsonObject(
            status=F("listed__serving"),
            active_endpoints=Case(
                When(listed__serving=ServingStatus.IDLE, then=0),
                default=Coalesce(Subquery(counted.values("n")), 0),
            ),
            endpoint=Case(
                When(
                    ~Q(listed__serving=ServingStatus.IDLE),
                    then=Subquery(active.order_by("-deployed_at", "-pk").values(_item=newest)[:1]),
                )
            ),
        ),
        "vertex_model_resource_name": F("vertex_model_resource_name"),
        "registry_state": Case(
            When(registry_state="", then=Value("unchecked")), default=F("registry_state")
        ),
        "verified_at": registry_answered_at(),
        "created_at": F("created_at"),
    }


def rows_of(
    models: QuerySet[RegisteredModel], fresh_since: Any, *more: str
) -> QuerySet[Any, dict[str, Any]]:
    """A row for each of these models: what `items_of` needs, and more columns."""
    looked = Case(
        When(registry_checked_at__isnull=True, then=NEVER),
        *([] if fresh_since is None else [When(_is_old(fresh_since), then=OLD)]),
        default=FRESH,
    )
    item = as_text(JsonObject(**fields_of_item()))
    rows: QuerySet[Any, dict[str, Any]] = models.values(
        "pk", "registry_state", *more, looked=looked, item=item, project_key=F("project")
    )
    return rows


def _is_old(fresh_since: Any) -> Q:
    return Q(LessThan(registry_answered_at(), fresh_since))


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """The registered models of these projects that the filters leave.

    A filter that is None does not apply. A search and tags have a text of their own each time.
    """

    status: str | None
    search: str
    tags: Sequence[str]
    filters: Mapping[str, Any]
    projects: QuerySet[Any] | None

    @classmethod
    def by(cls, query: ModelsQuery, projects: QuerySet[Any] | None) -> Self:
        """Those that the query asks for."""
        filters = {
            "project": query.project,
            "model_type": query.type,
            "blessed": query.blessed,
            "registry_state": "" if query.registry_state == "unchecked" else query.registry_state,
        }
        return cls(
            status=query.status,
            search=query.search,
            tags=query.tag,
            filters=filters,
            projects=projects,
        )

    @cached_property
    def models(self) -> QuerySet[RegisteredModel]:
        """These models."""
        rest = {"projects": self.projects, **self.filters}
        return _models(self.status, self.search, self.tags, **rest)

    def page(self, query: ModelsQuery, fresh_since: Any, more: Sequence[str]) -> Page[Any]:
        """The page that the query asks for, in one statement, with more columns.

        :raises Invalid: the query has both a page number and a cursor.
        :raises BadCursor: the cursor does not belong to this list in this order.
        """
        where, name = query.place, query.sort.removeprefix("-")
        if name.startswith(METRIC):
            return self._page_by_metric(query, fresh_since, more)
        order, offset = query.order(SORTS), where["offset"]
        start = start_of(RegisteredModel, order, after=query.cursor, before="")
        first, last = offset, offset + query.page_size + 1
        if self.search or self.tags or offset:
            # A text for each search, or for each page number, would be kept in vain.
            found: Iterable[Any] = _part(self.models, order, start, fresh_since, more)[first:last]
        else:
            found = page_rows(
                *(order, self.status, last, *more),
                value=start.value, pk=start.pk, fresh_since=fresh_since, projects=self.projects,
                **self.filters,
            )  # fmt: skip
        rows = list(found)
        for row in (*rows[:1], *rows[: query.page_size][-1:]):  # the cursors are made of these
            row |= json.loads(row["place"])
        return page_of(rows, order, start, size=query.page_size, offset=offset)

    def _page_by_metric(
        self, query: ModelsQuery, fresh_since: Any, more: Sequence[str]
    ) -> Page[Any]:
        name = query.sort.removeprefix("-")
        metric, descending = name.removeprefix(METRIC), query.sort != name
        page = read_by_metric(self.models, metric, descending=descending, **query.place)
        found = rows_of(RegisteredModel.objects.filter(pk__in=page.rows), fresh_since, *more)
        rows = {row["pk"]: row for row in found}
        return Page([rows[pk] for pk in page.rows], previous=page.previous, next=page.next)

    def counts(self) -> tuple[dict[str, int], bool]:
        """The `total` of the registered models and how many of each `ServingStatus` there are,
        whatever the filters, and how many are `chosen` by these; whether that is exact: only a
        search may tell a lower bound (law 1)."""
        [counts] = _counts(self.status, projects=self.projects, **self.filters)
        exact = True
        if self.search:
            counts["chosen"], exact = count_found(self.models)
        elif self.tags:
            counts["chosen"] = self.models.count()
        return counts, exact


def _models(
    status: str | None,
    search: str,
    tags: Sequence[str],
    *,
    projects: Any,
    project: Any,
    **filters: Any,
) -> QuerySet[RegisteredModel]:
    models = registered_models(projects)
    models = models if project is None else models.filter(project=project)
    return models.filter(model_filter(search=search, status=status, tags=tags, **filters))


@Prepared
def page_rows(
    order: Order, status: str | None, last: int, *more: str,
    value: Any, pk: Any, fresh_since: Any, **asked: Any,
) -> QuerySet[Any, dict[str, Any]]:  # fmt: skip
    """The rows behind the row of that value and primary key."""
    models = _models(status, "", (), **asked)
    return _part(models, order, Start(value=value, pk=pk), fresh_since, more)[:last]


def _part(
    models: QuerySet[RegisteredModel],
    order: Order,
    start: Start,
    fresh_since: Any,
    more: Sequence[str],
) -> QuerySet[Any, dict[str, Any]]:
    # As text, because only two are read.
    place = as_text(JsonObject(**{order.column: F(order.column)}))
    rows: Any = rows_of(ordered(models, order, start), fresh_since, *more)
    placed: QuerySet[Any, dict[str, Any]] = rows.annotate(place=place)
    return placed


@Prepared
def _counts(status: str | None, *, projects: Any, **filters: Any) -> QuerySet[Any, dict[str, Any]]:
    asked = {COUNTED_BY[name]: value for name, value in (filters | {"status": status}).items()}
    chosen = Q(**{name: value for name, value in asked.items() if value is not None})
    each = {one.value: Sum("n", filter=Q(serving=one), default=0) for one in ServingStatus}
    return number(
        ModelCount.objects.of(projects),
        total=Sum("n", default=0),
        chosen=Sum("n", filter=chosen or None, default=0),
        **each,
    )


def items_of(
    rows: Sequence[Row], projects: Mapping[Any, str], base: str, reading: VertexReading
) -> list[str]:
    """The rows as the JSON text of the items; `base` is the address of the list."""
    verdict = _verdicts(reading)
    return [
        f'{{"project":{projects[row["project_key"]]},"url":"{base}{row["pk"]}/",'
        f"{verdict(row['registry_state'], row['looked'])},{row['item'][1:]}"
        for row in rows
    ]


def projects_of(rows: Sequence[Row]) -> dict[Any, str]:
    """The projects of the rows as JSON; a host's own project model names itself by `__str__`."""
    keys = sorted({row["project_key"] for row in rows})
    return {project.pk: to_json(project_json(project)) for project in _projects(keys=keys)}


@Prepared
def _projects(*, keys: Any) -> QuerySet[Any]:
    return all_projects().filter(pk__in=keys)


def newest_run(row: Row) -> TrainingRun | None:
    """A row's newest version, with the columns that its verification needs."""
    if row["latest_run"] is None:
        return None
    return TrainingRun(
        pk=row["latest_run"],
        uid=row["latest_run__uid"],
        model_name=row["model_name"],
        vertex_model_resource_name=row["latest_run__vertex_model_resource_name"],
        vertex_model_version=row["latest_run__vertex_model_version"],
    )


def _verdicts(reading: VertexReading) -> Callable[[str, int], str]:
    """What the newest sweep says of a model, by its state and when it was looked at."""
    since = reading.fresh_since or datetime.max.replace(tzinfo=UTC)
    times = {NEVER: None, OLD: since - timedelta.resolution, FRESH: since}

    @cache
    def write(state: str, looked: int) -> str:
        verdict = registry_verdict(
            state=state,
            checked_at=times[looked],
            unread=reading.unread,
            fresh_since=reading.fresh_since,
        )
        told = {"registry_verified": verdict.verified, "registry_reason": verdict.reason}
        return to_json(told)[1:-1]

    return write
