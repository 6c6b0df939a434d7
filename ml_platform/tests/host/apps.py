"""The host's own app."""

from __future__ import annotations

import os

from django.apps import AppConfig

LABEL = os.environ.get("HOST_LABEL", "host")
"""Apps are migrated in the order of their labels: tests give it one before ours and one after."""


class HostConfig(AppConfig):
    """`ml_platform.tests.host` in INSTALLED_APPS."""

    name = "ml_platform.tests.host"
    label = LABEL
    default_auto_field = "django.db.models.BigAutoField"
