"""The app as Django loads it; nothing of Google is imported here."""

from __future__ import annotations

from django.apps import AppConfig


class MlPlatformConfig(AppConfig):
    """A model registry that stays true across four planes."""

    name = "ml_platform"
    label = "ml_platform"
    verbose_name = "ML platform"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401 - it registers itself
