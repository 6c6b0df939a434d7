"""The demo host's urls: login, admin, and the app at the root."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

handler404 = "ml_platform.pages.lazy.not_found"
handler403 = "ml_platform.pages.lazy.forbidden"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", LoginView.as_view(template_name="demo/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("", include("ml_platform.urls")),
]
