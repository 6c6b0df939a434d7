"""Everything the app serves, below wherever the host mounts it."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path, re_path

from ml_platform.api.lazy import door
from ml_platform.pages.lazy import page

app_name = "ml_platform"

urlpatterns: list[URLPattern | URLResolver] = [
    re_path(r"^api/(?P<path>[\s\S]*)\Z", door, name="api"),
    path("", page("start.start"), name="start"),
    path("new-project/", page("projects.new_project"), name="new_project"),
    path("projects/<path:project_id>/settings/", page("projects.project"), name="project"),
    path("projects/<path:project_id>/training/", page("training.views.training"), name="training"),
    path(
        "projects/<path:project_id>/training/new-run/",
        page("training.create.new_run"),
        name="new_run",
    ),
    path(
        "projects/<path:project_id>/training/new-schedule/",
        page("training.create.new_schedule"),
        name="new_schedule",
    ),
    path("models/<int:model_id>/", page("model.views.model"), name="model"),
    path("models/<int:model_id>/delete/", page("model.delete.delete"), name="delete"),
    path("registry-health/", page("findings.views.registry_health"), name="registry_health"),
    path("registry-health/check/", page("actions.views.check_now"), name="check_now"),
    path(
        "registry-health/installation/", page("installation.confirm"), name="confirm_installation"
    ),
    path(
        "registry-health/findings/<int:finding_id>/",
        page("findings.views.finding"),
        name="finding",
    ),
    path("operations/", page("operations.views.operations"), name="operations"),
    path("operations/<uuid:operation_id>/", page("operations.views.operation"), name="operation"),
    path(
        "operations/<uuid:operation_id>/status/",
        page("operations.views.operation_status"),
        name="operation_status",
    ),
    # The key of a host's project may hold a slash.
    path("do/<slug:verb>/<path:subject>/check/", page("actions.views.check"), name="check"),
    path("do/<slug:verb>/<path:subject>/", page("actions.views.do"), name="do"),
]
