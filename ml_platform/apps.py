"""The app as Django loads it; nothing of Google is imported here."""

from __future__ import annotations

from typing import Any

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

        pre_migrate.connect(_before_migrations, sender=self)
        post_migrate.connect(_after_migrations, sender=self)


# What installs triggers is imported when it is needed: few processes migrate.
def _before_migrations(**told: Any) -> None:
    from .models.counting.migrating import before_migrations

    before_migrations(**told)


def _after_migrations(**told: Any) -> None:
    from .models.counting.migrating import after_migrations

    after_migrations(**told)
