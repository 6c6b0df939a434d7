"""Project: a tenant of the host platform, ours by default."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from ml_platform.conf import PROJECT_MODEL_SETTING


class Project(models.Model):
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
