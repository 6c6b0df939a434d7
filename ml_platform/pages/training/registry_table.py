"""The Model Registry table: which models, in which order, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from ml_platform import kpis
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.states import LIVE_SCHEDULE_STATES, ModelType, RegistryState, ScheduleState
from ml_platform.pages.common.buttons import Permissions, deploy_button
from ml_platform.pages.common.paging import cursor_page
from ml_platform.pages.view_models.badges import badge
from ml_platform.pages.view_models.context import Badge, Link
from ml_platform.pages.view_models.metrics import common_name, main_metric
from ml_platform.pages.view_models.rows import Choice, ModelRow, Registry, Select, Sorting
from ml_platform.pages.view_models.times import moment, relative
from ml_platform.pagination import Order
from ml_platform.services.registry.registry_state import RegistryVerdict, registry_verdict

MODELS_A_PAGE = 25
Rows: TypeAlias = QuerySet[RegisteredModel]

ORDERS: Mapping[str, tuple[str, Order]] = {
    "newest": ("Newest first", Order("newest", "latest_registered_at", descending=True)),
    "oldest": ("Oldest first", Order("oldest", "latest_registered_at")),
    "name": ("Name, A to Z", Order("name", "model_name")),
    "name-desc": ("Name, Z to A", Order("name-desc", "model_name", descending=True)),
}
"""Each is served by an index: (project, latest_registered_at, id) or (project, model_name)."""


def _serving() -> QuerySet[DeployedEndpoint, Any]:
    return DeployedEndpoint.objects.filter(is_active=True).values("registered_model")


STATES: Mapping[str, tuple[str, Callable[[Rows], Rows]]] = {
    "deployed": ("Deployed", lambda rows: rows.filter(pk__in=_serving())),
    "idle": ("Not deployed", lambda rows: rows.exclude(pk__in=_serving())),
}
_KNOWN = Q(registry_checked_at__isnull=False)
REGISTRY: Mapping[str, tuple[str, Q]] = {
    "verified": ("Verified", _KNOWN & Q(registry_state=RegistryState.VERIFIED)),
    "missing": ("Not in Registry", _KNOWN & Q(registry_state=RegistryState.MISSING)),
    "unknown": (
        "Unknown",
        ~_KNOWN | Q(registry_state__in=(RegistryState.UNCHECKED, RegistryState.SUSPECTED)),
    ),
}


def registry_table(
    request: HttpRequest, *, project: Any, permissions: Permissions, now: datetime
) -> Registry:
    """The page of the table that the query string asks for: five statements, however many rows."""
    reading = kpis.vertex_reading()
    search = request.GET.get("q", "").strip().lower()[:63]
    chosen = {name: _chosen(request, name, table) for name, table in _FILTERS.items()}
    rows = kpis.registry_page_models([project.pk])
    if search:
        rows = rows.filter(model_name__contains=search)
    if chosen["type"]:
        rows = rows.filter(model_type=chosen["type"])
    if chosen["state"]:
        rows = STATES[chosen["state"]][1](rows)
    if chosen["registry"]:
        rows = _by_registry(rows, chosen["registry"], reading.unread)
    _, order = ORDERS.get(request.GET.get("sort", ""), ORDERS["newest"])
    shown, pager = cursor_page(rows, request, order=order, size=MODELS_A_PAGE, name="models")
    table = model_rows(shown, permissions=permissions, unread=reading.unread, now=now)
    return Registry(
        search=search,
        selects=_selects(chosen, order),
        narrowed=bool(search or any(chosen.values())),
        rows=table,
        pager=pager,
        unread=reading.unread,
        swept=moment(reading.swept_at, now),
        read=moment(reading.read_at, now),
        metric=common_name(row.metric for row in table),
        by_name=_sorting(request, order, "name", "name-desc"),
        by_age=_sorting(request, order, "newest", "oldest"),
    )


def _sorting(request: HttpRequest, order: Order, first: str, second: str) -> Sorting:
    """The head of a column that these two orders sort: it leads to the other one."""
    sorted_by_it = order.name in (first, second)
    query = {name: request.GET[name] for name in ("q", *_FILTERS) if request.GET.get(name)}
    query["sort"] = second if order.name == first else first
    way = "descending" if order.descending else "ascending"
    return Sorting(url=f"?{urlencode(query)}#models", direction=way if sorted_by_it else "")


_FILTERS: Mapping[str, Mapping[str, str]] = {
    "type": dict(ModelType.choices),
    "state": {name: label for name, (label, _) in STATES.items()},
    "registry": {name: label for name, (label, _) in REGISTRY.items()},
}


def _by_registry(rows: Rows, wanted: str, unread: str) -> Rows:
    if unread:
        return rows if wanted == "unknown" else rows.none()
    return rows.filter(REGISTRY[wanted][1])


def _chosen(request: HttpRequest, name: str, table: Mapping[str, str]) -> str:
    value = request.GET.get(name, "")
    return value if value in table else ""


def _selects(chosen: Mapping[str, str], order: Order) -> tuple[Select, ...]:
    filters = [
        Select(
            name=name,
            label=name.capitalize(),
            choices=tuple(
                Choice(value=value, label=label, chosen=value == chosen[name])
                for value, label in {"": "All", **table}.items()
            ),
        )
        for name, table in _FILTERS.items()
    ]
    sorts = tuple(
        Choice(value=name, label=label, chosen=one == order)
        for name, (label, one) in ORDERS.items()
    )
    return (*filters, Select(name="sort", label="Sort", choices=sorts))


def model_rows(
    models: Iterable[RegisteredModel], *, permissions: Permissions, unread: str, now: datetime
) -> tuple[ModelRow, ...]:
    """Lines for these lineages; their latest runs must be loaded."""
    shown = list(models)
    endpoints = _by_lineage(
        DeployedEndpoint.objects.filter(registered_model__in=shown).select_related("run")
    )
    schedules = _by_lineage(
        TrainingSchedule.objects.filter(registered_model__in=shown, state__in=LIVE_SCHEDULE_STATES)
    )
    return tuple(
        _row(
            model,
            endpoints.get(model.pk, []),
            schedules.get(model.pk, []),
            permissions,
            unread,
            now,
        )
        for model in shown
    )


def _by_lineage(rows: QuerySet[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows.order_by("pk"):
        found.setdefault(row.registered_model_id, []).append(row)
    return found


def _row(
    model: RegisteredModel,
    endpoints: list[DeployedEndpoint],
    schedules: list[TrainingSchedule],
    permissions: Permissions,
    unread: str,
    now: datetime,
) -> ModelRow:
    run = model.latest_run
    if run is None:
        raise ValueError(f"{model} is listed as registered and has no version")
    verdict = verdict_of(model, unread)
    active = [endpoint for endpoint in endpoints if endpoint.is_active]
    return ModelRow(
        id=model.pk,
        link=Link(text=model.model_name, url=model_url(model.pk)),
        latest=f"v{run.version}",
        versions=_how_many(run.version or 0, model.total_versions),
        others=model.total_versions > 1,
        type=model.get_model_type_display(),
        registry=registry_badge(verdict, now),
        checked=moment(verdict.at, now),
        blessed=blessed_badge(run),
        metric=main_metric(run.metrics),
        serving=_serving_badge(endpoints, active),
        services=tuple(_service(endpoint, run) for endpoint in active),
        schedules=", ".join(_rhythm(schedule) for schedule in schedules),
        registered=moment(model.latest_registered_at, now),
        deploy=deploy_button(permissions, run, verdict, endpoints),
    )


def _how_many(newest: int, total: int) -> str:
    """Numbers are never used again, so that after a deletion the newest is above their count."""
    return f"of {total:,}" if newest == total else f"{total:,} registered"


def model_url(model_id: int) -> str:
    """Where a lineage has its page."""
    return reverse("ml_platform:model", args=[model_id])


def verdict_of(model: RegisteredModel, unread: str) -> RegistryVerdict:
    """What the sweeps say of a lineage."""
    return registry_verdict(
        state=model.registry_state, checked_at=model.registry_checked_at, unread=unread
    )


def registry_badge(verdict: RegistryVerdict, now: datetime) -> Badge:
    """Verified, Not in Registry or Unknown, each with its age; unknown with its reason too."""
    if verdict.verified is None:
        last = f" Last looked at {relative(now - verdict.at)}." if verdict.at else ""
        return badge("Unknown", "unknown", f"{verdict.reason}{last}")
    if verdict.verified:
        return badge("Verified", "good", "The sweep saw it in the Vertex AI Model Registry.")
    return badge(
        "Not in Registry",
        "bad",
        "Vertex AI said twice that it has no such model.",
        "registry-missing",
    )


def blessed_badge(run: TrainingRun) -> Badge:
    """What the evaluator said; it may not have spoken yet."""
    if run.is_blessed is None:
        return badge("Unknown", "unknown", "Its evaluator has not spoken.")
    return badge("Blessed", "good") if run.is_blessed else badge("Not blessed", "warn")


def _serving_badge(endpoints: list[DeployedEndpoint], active: list[DeployedEndpoint]) -> Badge:
    moving = next((e for e in endpoints if e.state in ("deploying", "undeploying")), None)
    if moving is not None:
        return badge(moving.get_state_display(), "busy", moving.service_name)
    return badge("Serving", "good") if active else badge("Idle", "quiet")


def _service(endpoint: DeployedEndpoint, latest: TrainingRun) -> Link:
    behind = endpoint.run is not None and endpoint.run_id != latest.pk
    text = f"{endpoint.service_name} (v{endpoint.run.version})" if behind and endpoint.run else ""
    return Link(text=text or endpoint.service_name, url=f"#endpoint-{endpoint.pk}")


def _rhythm(schedule: TrainingSchedule) -> str:
    """`daily 04:00`: how often, and at what time of day where it is one."""
    paused = " (paused)" if schedule.state == ScheduleState.PAUSED else ""
    minute, _, rest = schedule.cron.partition(" ")
    hour = rest.partition(" ")[0]
    at = f" {hour:>02}:{minute:>02}" if hour.isdecimal() and minute.isdecimal() else ""
    return f"{schedule.get_frequency_display().lower()}{at}{paused}"
