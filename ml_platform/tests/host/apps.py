"""The host's own app."""

from __future__ import annotations

from django.apps import AppConfig


class HostConfig(AppConfig):
    """`ml_platform.tests.host` in INSTALLED_APPS."""

    name = "ml_platform.tests.host"
    label = "host"
    default_auto_field = "django.db.models.BigAutoField"
