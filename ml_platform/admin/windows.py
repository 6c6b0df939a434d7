"""Windows on every table: they change nothing.

All projects are shown, so only staff who see them all may look (law 10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html

from ml_platform import models as tables

if TYPE_CHECKING:
    from django.http import HttpRequest

    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin

COUNTED = 10_000
"""Rows that a list counts at most: counting a whole table would take longer than reading a page."""


def page_of(name: str) -> Callable[[Any], str]:
    """The address of the page of that name, about a row by its key."""
    return lambda row: reverse(f"ml_platform:{name}", args=[row.pk])


def _part_of_training(noun: str) -> Callable[[Any], str]:
    def url(row: Any) -> str:
        return f"{reverse('ml_platform:training', args=[row.project_id])}#{noun}-{row.pk}"

    return url


def _of_operation(row: Any) -> str:
    key = row.operation_id
    return reverse("ml_platform:operation", args=[key]) if key else ""


def _of_model(row: Any) -> str:
    return reverse("ml_platform:model", args=[row.registered_model_id])


def _of_project(row: Any) -> str:
    return reverse("ml_platform:project", args=[row.project_id])


def _health(_: Any) -> str:
    return reverse("ml_platform:registry_health")


@dataclass(frozen=True, slots=True)
class Window:
    """How the admin shows a table."""

    columns: tuple[str, ...]
    search: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    """Fields with choices, booleans and times: their filters need no query."""
    page: Callable[[Any], str] | None = None
    """The address of our page about a row; '' if it has none."""
    hidden: tuple[str, ...] = ()
    order: tuple[str, ...] = ("-pk",)


WINDOWS: dict[type[Model], Window] = {
    tables.ApiToken: Window(
        ("name", "user", "created_at", "expires_at", "revoked_at", "last_used_at"),
        ("name",),
        ("expires_at", "revoked_at"),
        hidden=("digest",),
    ),
    tables.ArchivedProject: Window(("project", "archived_at"), (), ("archived_at",), _of_project),
    tables.AwaitingRemoval: Window(
        ("folder", "run", "marked_at", "looked_at", "reason"), ("folder",), ("marked_at",)
    ),
    tables.DailyCount: Window(
        ("day", "project", "models", "versions", "deployed", "findings"), (), ("day",)
    ),
    tables.DeployedEndpoint: Window(
        ("service_name", "project", "registered_model", "state", "model_deleted", "deployed_at"),
        ("service_name", "registered_model__model_name"),
        ("state", "is_active", "model_deleted"),
        _part_of_training("endpoint"),
    ),
    tables.EndpointTraffic: Window(
        ("endpoint", "revision", "percent", "tag", "seen_at"), ("revision", "tag"), ("seen_at",)
    ),
    tables.Event: Window(
        ("seq", "at", "kind", "subject_name", "project", "actor_label", "origin"),
        ("subject_name", "actor_label"),
        ("kind", "at", "sent"),
        _of_operation,
    ),
    tables.Finding: Window(
        ("title", "kind", "status", "project", "first_seen_at", "last_seen_at"),
        ("title", "kind", "subject"),
        ("status", "first_seen_at"),
        page_of("finding"),
    ),
    tables.IdempotentResponse: Window(
        ("key", "user", "status", "created_at"),
        ("key",),
        ("created_at",),
        hidden=("request_digest", "body", "checked"),
    ),
    tables.Installation: Window(
        ("uid", "confirmed_at", "confirmed_by", "stopped_at", "stopped_reason"),
        page=_health,
        hidden=("nonce", "next_nonce"),
    ),
    tables.ListedModel: Window(
        ("model", "project", "registered", "registry_state", "serving", "is_blessed", "approval"),
        ("model__model_name",),
        ("registered", "registry_state", "serving", "is_blessed", "approval"),
    ),
    tables.Manifest: Window(
        ("run", "origin", "state", "file_count", "total_bytes", "taken_at"),
        ("folder", "digest"),
        ("origin", "state"),
    ),
    tables.MirroredArtifacts: Window(("prefix", "seen_at"), ("prefix",), ("seen_at",), _health),
    tables.MirroredEndpoint: Window(
        ("endpoint_id", "display_name", "seen_at"), ("display_name",), ("seen_at",), _health
    ),
    tables.MirroredJob: Window(
        ("job_id", "state", "schedule", "theirs", "next_at", "seen_at"),
        ("job_id",),
        ("theirs", "seen_at"),
        _health,
    ),
    tables.MirroredModel: Window(
        ("display_name", "model_id", "version", "theirs", "seen_at"),
        ("display_name", "model_id"),
        ("theirs", "seen_at"),
        _health,
    ),
    tables.MirroredService: Window(
        ("service_name", "ready", "theirs", "changed_at", "seen_at"),
        ("service_name",),
        ("ready", "theirs"),
        _health,
    ),
    tables.ModelCount: Window(
        ("project", "model_type", "registry_state", "serving", "is_blessed", "n", "versions"),
        (),
        ("model_type", "registry_state", "serving"),
    ),
    tables.ModelMetric: Window(("key", "value", "registered_model"), ("key",), (), _of_model),
    tables.ModelName: Window(
        ("name", "registered_model"), ("name",), (), _of_model, order=("name",)
    ),
    tables.ModelTag: Window(("key", "value", "registered_model"), ("key", "value"), (), _of_model),
    tables.Operation: Window(
        ("created_at", "workflow", "subject_name", "project", "status", "actor_label", "origin"),
        ("subject_name", "actor_label", "workflow"),
        ("status", "kind", "created_at"),
        page_of("operation"),
        order=("-created_at",),
    ),
    tables.RegisteredModel: Window(
        ("model_name", "project", "model_type", "total_versions", "registry_state", "created_at"),
        ("model_name", "vertex_model_resource_name"),
        ("model_type", "registry_state", "latest_registered_at"),
        page_of("model"),
    ),
    tables.ServiceDailyMetrics: Window(
        ("day", "service_name", "project", "requests", "errors", "complete"),
        ("service_name",),
        ("complete", "day"),
    ),
    tables.Sweep: Window(
        ("id", "status", "actor_label", "started_at", "finished_at"),
        ("actor_label",),
        ("status", "started_at"),
        _health,
    ),
    tables.TrainingRun: Window(
        ("id", "model_name", "project", "status", "registration", "version", "created_at"),
        ("model_name", "pipeline_job_name", "vertex_model_resource_name"),
        ("status", "registration", "approval", "is_blessed", "created_at"),
        _part_of_training("run"),
    ),
    tables.TrainingSchedule: Window(
        ("name", "project", "model_name", "state", "frequency", "next_run_at"),
        ("name", "model_name"),
        ("state", "frequency"),
        _part_of_training("schedule"),
    ),
    tables.VerificationCount: Window(("caller", "minute", "count"), ("caller",), ("minute",)),
}


class BoundedPaginator(Paginator[Any]):
    """Counts up to COUNTED rows."""

    @cached_property
    def count(self) -> int:
        """The number of rows, or COUNTED if there are more."""
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNTED].count())


class WindowAdmin(Base):
    """A table that staff who see all projects may read, and nobody changes here."""

    window: Window
    actions = None
    show_full_result_count = False
    paginator = BoundedPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """All rows, of the tables too that a dump leaves out."""
        rows: QuerySet[Any] = self.model.objects.all()
        return rows.order_by(*self.get_ordering(request))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: our own pages change rows, and the history says who did."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody, likewise."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody, likewise."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Those who have Django's permission to view the table and see all projects."""
        may = super().has_view_permission(request, obj)
        from ml_platform.services.access.scope import scope_of  # see `projects`: no start needs it

        return may and scope_of(request.user).everything

    def view_on_site(self, obj: Any) -> str | None:
        """The address of our page about the row."""
        return (self.window.page(obj) if self.window.page else "") or None

    @admin.display(description="Page")
    def our_page(self, obj: Any) -> str:
        """A link to it."""
        url = self.view_on_site(obj)
        return format_html('<a href="{}">Open</a>', url) if url else ""


def _class_of(model: type[Model], window: Window) -> type[WindowAdmin]:
    meta = model._meta  # noqa: SLF001 - Django's documented name
    related = [name for name in window.columns if meta.get_field(name).is_relation]
    values = {
        "window": window,
        "list_display": (*window.columns, *(("our_page",) if window.page else ())),
        "search_fields": window.search,
        "list_filter": window.filters,
        "list_select_related": related or False,
        "ordering": window.order,
        "fields": [one.name for one in meta.fields if one.name not in window.hidden],
    }
    return type(f"{model.__name__}Admin", (WindowAdmin,), values)


for _model, _window in WINDOWS.items():
    admin.site.register(_model, _class_of(_model, _window))
