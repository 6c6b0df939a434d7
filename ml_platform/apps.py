"""The app as Django loads it; nothing of Google is imported here."""

from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class MlPlatformConfig(AppConfig):
    """A model registry that stays true across four planes."""

    name = "ml_platform"
    label = "ml_platform"
    verbose_name = "ML platform"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and what keeps our triggers through migrations."""
        from . import checks  # noqa: F401 - it registers itself
        from .models.counting.migrating import after_migrations, before_migrations

        pre_migrate.connect(before_migrations, sender=self)
        post_migrate.connect(after_migrations, sender=self)
