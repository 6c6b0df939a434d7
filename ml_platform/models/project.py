"""Project: a tenant of the host platform, ours by default."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from ml_platform.conf import PROJECT_MODEL_SETTING

from .database import PlatformModel


class Project(PlatformModel):
    """A tenant. `ML_PLATFORM_PROJECT_MODEL` replaces it by a model of the host."""

    name = models.CharField(max_length=63, unique=True)
    description = models.TextField(blank=True, default="")
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, related_name="ml_platform_projects", blank=True
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        swappable = PROJECT_MODEL_SETTING
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


LONGEST_KEY = 64
"""Characters of a text that may be the key of a project: it becomes part of lock names, with
the name of a model behind it."""


def key_field(label: str) -> models.Field[Any, Any]:
    """Return the field that is the primary key of a model, such as the host's Project or user.

    :raises LookupError: there is no such model.
    """
    key: Any = apps.get_model(label)._meta.pk  # noqa: SLF001 - Django's documented name
    while key.remote_field:  # a child's key is its parent's
        key = key.target_field
    return key  # type: ignore[no-any-return]
