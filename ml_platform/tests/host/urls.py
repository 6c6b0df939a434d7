"""The host mounts us below a path of its own."""

from __future__ import annotations

from django.contrib.auth.views import LoginView
from django.urls import include, path

urlpatterns = [
    path("sign-in/", LoginView.as_view(template_name="host/sign_in.html"), name="sign_in"),
    path("ml/", include("ml_platform.urls")),
]
