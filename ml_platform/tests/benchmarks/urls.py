"""The demo host's addresses and, beside them, the bare views."""

from __future__ import annotations

from django.urls import path

from ml_platform.demo.urls import urlpatterns as demo

from . import bare, html

urlpatterns = [
    path("bare/models/", bare.models_page),
    path("bare/page/", html.bare_page),
    *demo,
]
