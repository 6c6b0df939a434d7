"""A host that mounts the app below /ml/."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("ml/", include("ml_platform.urls"))]
