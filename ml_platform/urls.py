"""Everything the app serves, below wherever the host mounts it."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path, re_path

from .api.door import door
from .pages.door import page

app_name = "ml_platform"

urlpatterns: list[URLPattern | URLResolver] = [
    re_path(r"^api/(?P<path>.*)$", door, name="api"),
    path("", page("views.start"), name="start"),
    path("projects/<slug:project_id>/training/", page("training.training"), name="training"),
    path("projects/<slug:project_id>/training/new-run/", page("making.new_run"), name="new_run"),
    path(
        "projects/<slug:project_id>/training/new-schedule/",
        page("making.new_schedule"),
        name="new_schedule",
    ),
    path("models/<int:model_id>/", page("model.model"), name="model"),
    path("models/<int:model_id>/delete/", page("deleting.delete"), name="delete"),
    path("registry-health/", page("views.registry_health"), name="registry_health"),
    path("registry-health/check/", page("actions.check_now"), name="check_now"),
    path("registry-health/findings/<int:finding_id>/", page("finding.finding"), name="finding"),
    path("operations/", page("views.operations"), name="operations"),
    path("operations/<uuid:operation_id>/", page("operation.operation"), name="operation"),
    path(
        "operations/<uuid:operation_id>/status/",
        page("operation.operation_status"),
        name="operation_status",
    ),
    path("do/<slug:verb>/<slug:subject>/", page("actions.do"), name="do"),
    path("do/<slug:verb>/<slug:subject>/check/", page("actions.check"), name="check"),
]
